"""``stagepost dlq``: look at dead letters, and send them back once their reason is mended."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, load_from
from stagepost.cli.output import (
    FAILED,
    PARTLY,
    Failure,
    complain,
    data,
    json_data,
    leave,
    note,
    progress_bar,
    server_failures,
)
from stagepost.wording import counted

_PLACE = re.compile(r"([^:]+):([0-9]{1,9}):([0-9]{1,18})")
"""No number is beyond what Kafka counts with: 32 and 64 bits."""

if TYPE_CHECKING:
    from stagepost.edges.scan import Scanner
    from stagepost.engine.plan import Topic
    from stagepost.engine.retries import DeadLetter

TopicArgument = Annotated[
    str | None, typer.Argument(metavar="TOPIC", help="email.raw.dlq, email.events.dlq, ... Default: all of them.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Only those of this reason.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME|24h", help="Only those written since then, or in the last 24h.")
]

_WAIT_S = 30.0


def add_to(app: typer.Typer) -> None:
    dlq = typer.Typer(help="Dead letters: list them, show one, send them back.", no_args_is_help=True)
    app.add_typer(dlq, name="dlq")

    @dlq.command("ls")
    def ls(
        topic: TopicArgument = None,
        reason: ReasonOption = None,
        since: Since = None,
        limit: Annotated[
            int, typer.Option("--limit", metavar="N", min=0, help="Newest records to show; counts are of all.")
        ] = 20,
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """List dead letters, with counts.

        Counts by topic and reason, and the newest records: place, reason, detail. Bodies are not shown.

        Example: stagepost dlq ls email.raw.dlq --reason schema --since 24h
        """
        with _opened(config, kafka, prefix) as (scanner, _):
            letters, retried = _chosen(scanner, topic, reason, since)
        if as_json:
            for letter in letters:
                json_data({**_row(letter), "retried": letter.place in retried})
            return
        counts = Counter((letter.record.topic, letter.reason) for letter in letters)
        for (name, why), number in sorted(counts.items()):
            data(f"{number:>8,}  {name:20} {why}")
        for letter in letters[len(letters) - min(limit, len(letters)) :]:
            mark = "retried" if letter.place in retried else f"retry {letter.retries}" if letter.retries else ""
            data(f"{letter.place:28} {_time(letter):24} {letter.reason:17} {mark:9} {letter.detail}")
        again = sum(letter.place in retried for letter in letters)
        note(f"{counted(len(letters), 'dead letter')}, {again:,} of them retried")

    @dlq.command("show")
    def show(
        place: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="As ls prints it.")],
        raw: Annotated[
            bool, typer.Option("--raw", help="The original bytes on standard output, nothing else.")
        ] = False,
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Show one dead letter.

        Headers and size; its bytes only with --raw, as they may hold anything about a person.

        Example: stagepost dlq show email.raw.dlq:3:41
        """
        from stagepost.engine.retries import read_dead_letter

        with _opened(config, kafka, prefix) as (scanner, _):
            record = scanner.one(*_place(place))
        letter = None if record is None else read_dead_letter(record)
        if letter is None:
            raise Failure(f"{place}: there is no dead letter (any more); stagepost dlq ls shows what there is")
        if raw:
            import sys

            sys.stdout.buffer.write(letter.record.value or b"")
            return
        if as_json:
            json_data({**_row(letter), "headers": [[name, _shown(value)] for name, value in letter.record.headers]})
            return
        data(f"{letter.place}  {_time(letter)}  {len(letter.record.value or b''):,} bytes")
        for name, value in letter.record.headers:
            data(f"  {name}: {_shown(value)}")

    @dlq.command("retry")
    def retry(
        topic: TopicArgument = None,
        reason: ReasonOption = None,
        since: Since = None,
        limit: Annotated[
            int | None, typer.Option("--limit", metavar="N", min=1, help="Of those chosen, only the oldest.")
        ] = None,
        rate: Annotated[
            float | None, typer.Option("--rate", metavar="N", min=0.1, help="Records a second at most.")
        ] = None,
        wait: Annotated[
            float, typer.Option("--wait", metavar="SECONDS", min=0, help="Seconds to wait for what becomes of them.")
        ] = _WAIT_S,
        again: Annotated[bool, typer.Option("--again", help="Also those that were retried before.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Send dead letters back.

        To the topic that they came from, after their reason was mended.

        In the order of their origin, each once, with the header stagepost-retry. Of a body of which only some parts
        were refused, only these are read again. Exit code 3: some failed again.

        Example: stagepost dlq retry email.raw.dlq --reason signature --since 2h --dry-run
        """
        from stagepost.edges.retrying import Retrier

        with _opened(config, kafka, prefix) as (scanner, (settings, names)):
            letters, retried = _chosen(scanner, topic, reason, since)
            reasons = [_why_left(letter, retried, again) for letter in letters]
            sendable = [letter for letter, why in zip(letters, reasons, strict=True) if why is None]
            chosen = sendable[:limit]
            left = len(letters) - len(chosen)
            if left:
                counts = Counter([why for why in reasons if why] + ["beyond --limit"] * (len(sendable) - len(chosen)))
                note(f"left alone: {', '.join(f'{n:,} {why}' for why, n in counts.most_common())}")
            if dry_run or not chosen:
                _report(as_json, {"chosen": len(chosen), "left": left, "retried": 0, "failed": [], "waiting": []})
                return
            began = time.time_ns() // 1000
            retrier = Retrier(settings, names, scanner)
            try:
                with progress_bar("sending") as progress:
                    retrier.send(chosen, rate, progress)
                outcome = retrier.watch(chosen, began, wait)
            finally:
                retrier.close()
        failed = [{"was": was, "now": now} for was, now in outcome.failed]
        waiting = list(outcome.waiting)
        _report(
            as_json,
            {"chosen": len(chosen), "left": left, "retried": outcome.retried, "failed": failed, "waiting": waiting},
        )
        if failed:
            leave(PARTLY)
        if waiting:
            complain(f"not read within {wait:g} s: {', '.join(waiting)}; is the role running that reads it?")
            leave(FAILED)


@contextmanager
def _opened(config: Path | None, kafka: str | None, prefix: str | None) -> Iterator[tuple[Scanner, tuple[Any, Any]]]:
    """A scanner of the installation, and what makes further clients."""
    from stagepost.edges.scan import Scanner
    from stagepost.edges.topics import TopicNames
    from stagepost.wiring import kafka_settings

    settings = load_from(config, kafka, None, prefix).settings
    base, names = kafka_settings(settings).base(), TopicNames(settings.prefix)
    scanner = Scanner(base, names)
    try:
        with server_failures(settings.kafka.bootstrap_servers, settings.redis.url):
            yield scanner, (base, names)
    finally:
        scanner.close()


def _chosen(
    scanner: Scanner, topic: str | None, reason: str | None, since: str | None
) -> tuple[list[DeadLetter], frozenset[str]]:
    """Dead letters by place in the order of their partitions, and the places that have a receipt."""
    from stagepost.engine.retries import read_dead_letter, receipt_for
    from stagepost.events import Reason

    if reason is not None and reason not in set(Reason):
        raise typer.BadParameter(f"{reason!r} is none of {', '.join(Reason)}", param_hint="--reason")
    letters, retried = [], set()
    with progress_bar("reading") as progress:
        for record in scanner.records(_topics(topic), _since(since), progress):
            receipt = receipt_for(record)
            if receipt is not None:
                retried.add(receipt)
            elif (letter := read_dead_letter(record)) is not None and reason in (None, letter.reason):
                letters.append(letter)
    letters.sort(key=lambda letter: letter.record.timestamp)
    return letters, frozenset(retried)


def _topics(name: str | None) -> Sequence[Topic]:
    from stagepost.engine.plan import DEAD_LETTERS

    known = sorted(DEAD_LETTERS)
    if name is None:
        return known
    found = [topic for topic in known if topic in (name, f"{name}.dlq")]
    if not found:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="TOPIC")
    return found


def _place(text: str) -> tuple[Topic, int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no TOPIC:PARTITION:OFFSET", param_hint="TOPIC:PARTITION:OFFSET")
    [topic] = _topics(found[1])
    return topic, int(found[2]), int(found[3])


def _since(text: str | None) -> int | None:
    """Micros: a time, or so long before now."""
    from stagepost.events import parse_rfc3339
    from stagepost.journey.durations import parse_duration

    if text is None:
        return None
    try:
        return time.time_ns() // 1000 - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a duration such as 24h nor an RFC 3339 time") from error


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "place": letter.place,
        "at": _time(letter),
        "reason": letter.reason,
        "detail": letter.detail,
        "parts": letter.parts or None,
        "retries": letter.retries,
        "bytes": len(letter.record.value or b""),
        "from": f"{letter.source_topic}:{letter.source_partition}:{letter.source_offset}",
    }


def _time(letter: DeadLetter) -> str:
    from stagepost.events import rfc3339

    return rfc3339(letter.record.timestamp)


def _shown(value: bytes | None) -> str | None:
    """A header as text; bytes that are none are escaped."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _why_left(letter: DeadLetter, retried: frozenset[str], again: bool) -> str | None:
    """Why a dead letter is not sent back; None: it can be."""
    from stagepost.engine.retries import SOURCES

    if letter.record.topic not in SOURCES:
        return "made anew by their role"
    if letter.omitted:
        return "without the original, which was too large to be carried on"
    return "retried before (--again)" if letter.place in retried and not again else None


def _report(as_json: bool, found: dict[str, Any]) -> None:
    if as_json:
        json_data(found)
        return
    data(f"{found['chosen']:,} to send back, {found['left']:,} left alone; sent {found['retried']:,}")
    for failed in found["failed"]:
        data(f"failed again: {failed['was']} is now {failed['now']}")
