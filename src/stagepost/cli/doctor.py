"""``stagepost doctor``: what is wrong with the servers, and how to mend it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, Redis, load_from
from stagepost.cli.output import FAILED, data, json_data, leave, note, step_at_hand
from stagepost.wording import counted


def add_to(app: typer.Typer) -> None:
    @app.command()
    def doctor(
        fix_hints: Annotated[bool, typer.Option("--fix-hints", help="Say beside each finding how to mend it.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Say what is wrong with the servers.

        Looks at broker, rights, topics, transactions, offsets, events, Redis and clocks; writes nothing. Exit code 1
        when a check failed. Takes longer only where a transaction is open: then until it should have ended by itself.

        Example: stagepost doctor --fix-hints
        """
        from stagepost.wiring import doctor_of

        settings = load_from(config, kafka, redis, prefix).settings
        findings = []
        with step_at_hand() as begun:
            for finding in doctor_of(settings).run(lambda name: begun(f"checking {name} ...")):
                findings.append(finding)
                if not as_json:
                    data(f"{finding.status:5} {finding.check:18} {finding.detail}")
                    if fix_hints and finding.hint:
                        data(f"      {'':18} -> {finding.hint}")
        counts = Counter(str(finding.status) for finding in findings)
        if as_json:
            json_data(
                {
                    "checks": [
                        {"check": f.check, "status": str(f.status), "detail": f.detail, "hint": f.hint or None}
                        for f in findings
                    ],
                    "failed": counts["fail"],
                    "warned": counts["warn"],
                }
            )
        note(f"{counts['ok']} ok, {counted(counts['warn'], 'warning')}, {counts['fail']} failed")
        if counts["fail"]:
            leave(FAILED)
