"""``stagepost contact``: what is known of one person, all of it as a file, and forgetting it."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagepost.cli.explain import Known, cause_text, from_redis, move_text, read_history, standing_json, told_json
from stagepost.cli.options import Config, Json, Kafka, Prefix, Redis, load_from
from stagepost.cli.output import FAILED, Failure, data, json_data, leave, note, progress_bar, server_failures

if TYPE_CHECKING:
    from stagepost.edges.erasing import Eraser, Progress, Published, Remains
    from stagepost.settings import Settings

ContactArgument = Annotated[str | None, typer.Argument(metavar="CONTACT", help="A contact id.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="-",
        help="Read the e-mail address from standard input instead, so that no shell remembers it.",
    ),
]

_WITHIN_S = 120.0


def add_to(app: typer.Typer) -> None:
    contact = typer.Typer(help="One person: show, export, forget.", no_args_is_help=True)
    app.add_typer(contact, name="contact")

    @contact.command("show")
    def show(
        contact: ContactArgument = None,
        address: Address = None,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Stages, consent, sends and the last moves of a contact.

        As Redis has them, with suppression by scope.

        Example: stagepost contact show c-8841
        """
        settings = load_from(config, kafka, redis, prefix).settings
        who = _contact(contact, address, settings)
        known = from_redis(who, settings)
        if known is None:
            note(f"{who}: nothing is known of this contact")
            leave(FAILED)
        found = _summary(who, known)
        if as_json:
            json_data(found)
        else:
            _print(found)

    @contact.command("export")
    def export(
        contact: ContactArgument = None,
        address: Address = None,
        out: Annotated[
            Path | None, typer.Option("--out", metavar="FILE", help="A new file, for its owner's eyes only.")
        ] = None,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Everything held about the person, as JSON.

        One object with state, events, dead letters, moves and memberships, from Redis and the partitions of the topics
        where the contact's records lie, or lay before a repartition. Posts in email.raw and their dead letters are
        named by no contact id, so they are not in it; it says so, and until when they are kept.

        Example: stagepost contact export c-8841 --out c-8841.json
        """
        import json

        settings = load_from(config, kafka, redis, prefix).settings
        who = _contact(contact, address, settings)
        whole = _whole(who, settings)
        if whole is None:
            note(f"{who}: nothing is known of this contact")
            leave(FAILED)
        if out is None:
            json_data(whole)
            return
        try:
            out.touch(mode=0o600, exist_ok=False)
            out.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise Failure(f"{out}: {error.strerror}") from error
        if as_json:
            json_data({"contact": who, "out": str(out), "bytes": out.stat().st_size})
        note(f"{out}: {out.stat().st_size:,} bytes")

    @contact.command("forget")
    def forget(
        contact: ContactArgument = None,
        address: Address = None,
        wait: Annotated[bool, typer.Option("--wait", help="Follow it until it is through everywhere.")] = False,
        within: Annotated[
            float, typer.Option("--within", metavar="SECONDS", min=1, help="Seconds to wait at most.")
        ] = _WITHIN_S,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal either.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Erase a contact; later events of it are refused.

        It cannot be undone, so on a terminal it asks first. Publishes contact.erased, which removes state, timers and
        memberships. With --wait it says what has come to be true and which topics keep older records until when; exit
        code 1 when it could not be confirmed in time. To run it again is always right.

        Example: stagepost contact forget --address - --wait < address.txt
        """
        from stagepost.edges.erasing import erasure_event
        from stagepost.events import Rejected

        settings = load_from(config, kafka, redis, prefix).settings
        who = _contact(contact, address, settings)
        value = erasure_event(who, time.time_ns() // 1000, uuid.uuid4().hex)
        if isinstance(value, Rejected):
            raise typer.BadParameter(value.detail, param_hint="CONTACT")
        if not yes and sys.stdin.isatty():
            place = f"{settings.prefix or 'no prefix'} on {settings.kafka.bootstrap_servers}"
            typer.confirm(f"Erase {who} for good ({place})?", abort=True, err=True)
        with _eraser(settings) as eraser:
            published = eraser.publish(who, value)
            note(f"contact.erased is published: email.events:{published.partition}:{published.offset}")
            progress = None
            if wait:
                with progress_bar("journey.contacts") as bar:
                    progress = eraser.follow(published, within, note, bar)
            remains = eraser.remains(published.at) if wait else []
        _report(published, progress, remains, as_json)
        if progress is not None and not progress.confirmed:
            leave(FAILED)


def _contact(contact: str | None, address: str | None, settings: Settings) -> str:
    """The contact id that was given, or that of the address on standard input."""
    if (contact is None) == (address is None):
        raise typer.BadParameter("either CONTACT or --address - is needed", param_hint="CONTACT")
    if contact is not None:
        return contact
    if address != "-":
        raise typer.BadParameter(
            "only -, since a command line is seen and kept: pipe the address in", param_hint="--address"
        )
    from stagepost.normalise.addresses import hashed, normalised

    found = normalised(sys.stdin.read(2_000))
    if found is None:
        raise typer.BadParameter("there is no e-mail address on standard input", param_hint="--address")
    return hashed(found, settings.tenant_key())


@contextmanager
def _eraser(settings: Settings) -> Iterator[Eraser]:
    from stagepost.wiring import eraser

    with server_failures(settings.kafka.bootstrap_servers, settings.redis.url), closing(eraser(settings)) as opened:
        yield opened


def _report(published: Published, progress: Progress | None, remains: list[Remains], as_json: bool) -> None:
    from stagepost.events import rfc3339

    until = {each.topic: None if each.until is None else rfc3339(each.until) for each in remains}
    if as_json:
        found: dict[str, Any] = {
            "contact": published.contact,
            "event": {
                "id": published.id,
                "partition": published.partition,
                "offset": published.offset,
                "at": rfc3339(published.at),
            },
            "confirmed": progress.confirmed if progress is not None else None,
        }
        if progress is not None:
            found["state"], found["mirror"] = progress.state, progress.mirror
            found["tombstones"], found["live"] = progress.tombstones, list(progress.live)
            found["remains"] = [
                {"topic": each.topic, "policy": each.policy, "until": until[each.topic]} for each in remains
            ]
        json_data(found)
        return
    if progress is None:
        return
    data(f"{published.contact}: {'forgotten' if progress.confirmed else 'NOT confirmed'}")
    if not progress.state:
        data("  the journey role has not read the event yet: does it run?")
    elif not progress.mirror:
        data("  Redis does not show it yet: does it answer?")
    elif not progress.whole:
        data("  journey.contacts could not be read to its end: a transaction is open, or the broker is away")
    for key in progress.live:
        data(f"  journey.contacts still has {key}")
    data("older records are kept at the latest until")
    for each in remains:
        data(f"  {until[each.topic] or 'no limit is set':28} {each.topic} ({each.policy})")


def _summary(who: str, known: Known) -> dict[str, Any]:
    from stagepost.events import rfc3339
    from stagepost.journey.explain import standings
    from stagepost.journey.state import CLICKED, COMPLAINED, DELIVERED, OPENED, UNSUBSCRIBED

    state = known.state
    marks = {DELIVERED: "delivered", OPENED: "opened", CLICKED: "clicked"}
    marks |= {UNSUBSCRIBED: "unsubscribed", COMPLAINED: "complained"}
    return {
        "contact": who,
        "erased": _time(state.erased),
        "journeys": []
        if state.erased
        else [standing_json(known, s) for s in standings(known.program, state, known.clock)],
        "consent": {
            purpose or "all": {"given": grant.given, "at": rfc3339(grant.at), "since": _time(grant.since)}
            for purpose, grant in sorted(state.consents.items())
        },
        "suppression": {
            scope: {"in_force": word.in_force, "at": rfc3339(word.at)} for scope, word in sorted(state.register.items())
        },
        "sends": [
            {
                "at": rfc3339(sent.at),
                "campaign": sent.campaign,
                "flags": [name for flag, name in marks.items() if sent.flags & flag],
            }
            for sent in sorted(state.sends.values(), key=lambda sent: sent.at)
        ],
        "timeline": [{"journey": move.journey, **told_json(known, move), "says": _line(move)} for move in known.moves],
    }


def _line(move: Any) -> str:
    return f"{move.at}  {move.journey}: {move_text(move)}  {cause_text(move)}".rstrip()


def _print(found: dict[str, Any]) -> None:
    if found["erased"]:
        data(f"{found['contact']}: erased at {found['erased']}; later events are refused")
        return
    data(found["contact"])
    for each in found["journeys"]:
        where = {"none": "in no run", "active": each["place"], "exited": f"left by {each['place']}"}[each["status"]]
        best = f", best {each['best']}" if each["best"] not in (None, each["place"]) else ""
        data(f"  {each['journey']}: {where}{', since ' + each['since'] if each['since'] else ''}{best}")
    for title, lines in (
        ("consent", [f"{p}: {'given' if g['given'] else 'withdrawn'} {g['at']}" for p, g in found["consent"].items()]),
        (
            "suppression",
            [
                f"{s}: {'withdrawn' if w['in_force'] else 'given back'} {w['at']}"
                for s, w in found["suppression"].items()
            ],
        ),
        ("sends", [f"{s['at']}  {s['campaign'] or '-'}  {' '.join(s['flags'])}".rstrip() for s in found["sends"]]),
        ("timeline", [move["says"] for move in found["timeline"]]),
    ):
        data(f"  {title}{'' if lines else ': nothing'}")
        for line in lines:
            data(f"    {line}")


def _whole(who: str, settings: Settings) -> dict[str, Any] | None:
    """All that Redis and the topics hold under the contact's id; None: nothing."""
    import msgspec

    from stagepost.edges.errors import MissingTopics
    from stagepost.events import rfc3339

    known = from_redis(who, settings)
    past = read_history(who, settings)
    moves = past.moves or ([] if known is None else known.moves)
    with _eraser(settings) as eraser:
        try:
            with progress_bar("journey.contacts") as progress:
                records = eraser.membership_records(who, progress)
        except MissingTopics as error:
            raise Failure(str(error)) from error
        now = time.time_ns() // 1000
        others = [
            each for each in eraser.remains(now) if each.topic.removeprefix(settings.prefix).startswith("email.raw")
        ]
    if known is None and not (past.events or past.letters or moves or records):
        return None
    return {
        "contact": who,
        "state": None if known is None else _plain(known.state),
        "events": [{**msgspec.to_builtins(event), "at": rfc3339(at)} for event, at in past.events],
        "transitions": [msgspec.structs.asdict(move) for move in moves],
        "memberships": [msgspec.json.decode(value) for value in records],
        "dead_letters": [
            {
                "place": letter.place,
                "at": rfc3339(letter.record.timestamp),
                "reason": letter.reason,
                "detail": letter.detail,
                "value": (letter.record.value or b"").decode("utf-8", "backslashreplace"),
            }
            for letter in past.letters
        ],
        "whole": past.whole,
        "not_searched": [
            {"topic": each.topic, "kept_until": None if each.until is None else rfc3339(each.until)} for each in others
        ],
    }


def _plain(value: Any) -> Any:
    """A state as JSON values with the names of its fields; remembered keys of events are digests, hence hex."""
    import msgspec

    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.hex() if isinstance(value, bytes) else value


def _time(at: int) -> str | None:
    from stagepost.events import rfc3339

    return rfc3339(at) if at else None
