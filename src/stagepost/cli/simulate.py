"""``stagepost simulate``: journeys over recorded events, without Kafka or Redis; alone, or beside an older one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stagepost.cli.event_files import BadLines, read_events, tell_late
from stagepost.cli.journey_files import files_of, journeys_of, parse_files, without_errors
from stagepost.cli.options import Json
from stagepost.cli.output import PARTLY, complain, data, json_data, leave, note
from stagepost.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagepost.events import Event
    from stagepost.journey.definition import Journey
    from stagepost.journey.simulate import Funnel, FunnelRow, Simulation

SHOWN_MOVES = 200
"""Moves printed for people; ``--json`` prints all."""

SHOWN_GROUPS = 20
"""Groups of contacts that stand elsewhere, printed for people; ``--json`` prints all."""


def add_to(app: typer.Typer) -> None:
    @app.command()
    def simulate(
        journeys: Annotated[list[Path], typer.Argument(metavar="JOURNEY", help="Journey files, or folders of them.")],
        events: Annotated[
            str, typer.Option("--events", metavar="FILE|-", help="Canonical events, one JSON object a line; .zst too.")
        ],
        until: Annotated[
            str | None, typer.Option("--until", metavar="TIME", help="Let the clock run on to this RFC 3339 time.")
        ] = None,
        against: Annotated[
            Path | None,
            typer.Option("--against", metavar="OLD", help="Show the funnels of this older file (or folder) beside."),
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Fold recorded events and print the transitions.

        As the worker does: JSON lines, or a funnel and a timeline. What became of the events is said at the end.

        An event has at least {"id": "1", "type": "contact.subscribed", "contact": "c-1", "occurred_at":
        "2026-11-02T09:14:07Z"}; a click has "url" and "campaign" too. All fields: stagepost schema event.

        With --against: both funnels side by side, and who would stand elsewhere had each file been in force from the
        first event on; with --json as one object. What a change does to contacts that are under way, plan says.

        Example: stagepost simulate journeys/ --events events.ndjson --until 2026-12-01T00:00:00Z --json
        """
        end = _time(until)
        definitions = _definitions(journeys)
        older = None if against is None else _definitions([against])
        bad = BadLines()
        feed = read_events(events, bad)
        if older is not None:
            _compare(older, definitions, feed, bad, end, as_json)
        elif as_json:
            _print_transitions(definitions, feed, bad, end)
        else:
            _print_funnels(definitions, feed, bad, end)
        if bad.count:
            complain(f"{counted(bad.count, 'line')} skipped")
            leave(PARTLY)


def _definitions(paths: Sequence[Path]) -> list[Journey]:
    return journeys_of(without_errors(parse_files(files_of(paths))))


def _time(text: str | None) -> int | None:
    from stagepost.events import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time such as 2026-11-02T09:14:07Z", param_hint="--until") from None


def _print_transitions(
    definitions: Sequence[Journey], feed: Iterator[tuple[Event, int]], bad: BadLines, end: int | None
) -> None:
    from stagepost.events import encode_json
    from stagepost.journey.compile import compile_program
    from stagepost.journey.simulate import Simulation

    out = sys.stdout.buffer
    simulation = Simulation(compile_program(definitions))
    for move in simulation.run(feed, end):
        out.write(encode_json(move) + b"\n")
    out.flush()
    _tell(simulation, bad, end)


def _print_funnels(
    definitions: Sequence[Journey], feed: Iterator[tuple[Event, int]], bad: BadLines, end: int | None
) -> None:
    from rich.console import Console
    from rich.table import Table

    from stagepost.cli.explain import move_text
    from stagepost.engine.story import told_of
    from stagepost.journey.compile import compile_program
    from stagepost.journey.simulate import Funnel, Simulation

    funnel, more = Funnel(definitions), 0
    shown: list[str] = []
    simulation = Simulation(compile_program(definitions))
    for move in simulation.run(feed, end):
        funnel.add(move)
        if len(shown) < SHOWN_MOVES:
            cause = f"  {move.cause.type} {move.cause.id}" if move.cause is not None else ""
            journey = f"{move.journey}: " if len(definitions) > 1 else ""
            shown.append(f"{move.at}  {move.contact}  {journey}{move_text(told_of(move))}  ({move.rule}){cause}")
        else:
            more += 1
    console = Console(highlight=False)
    for definition in definitions:
        table = Table("place", "kind", title=definition.name, title_justify="left")
        for column in ("now", "reached"):
            table.add_column(column, justify="right")
        for row in funnel.rows(definition.name):
            table.add_row(row.place, row.kind, str(row.now), str(row.reached))
        console.print(table)
    for line in shown:
        data(line)
    if more:
        data(f"... {more:,} more moves: --json prints all")
    _tell(simulation, bad, end)


def _compare(
    older: Sequence[Journey],
    newer: Sequence[Journey],
    feed: Iterator[tuple[Event, int]],
    bad: BadLines,
    end: int | None,
    as_json: bool,
) -> None:
    """Fold the same events by both, one pass over them, and show each journey's funnels."""
    from stagepost.journey.compile import compile_program
    from stagepost.journey.simulate import Funnel, Simulation, pieces

    sides = [(Simulation(compile_program(side)), Funnel(side)) for side in (older, newer)]
    for piece in pieces(feed):
        for simulation, funnel in sides:
            for move in simulation.feed(piece):
                funnel.add(move)
    for simulation, funnel in sides:
        for move in simulation.finish(end):
            funnel.add(move)
    (_, old), (newest, new) = sides
    compared = [_side_by_side(old, new, before, after) for before, after in _pairs(older, newer)]
    if as_json:
        json_data({"journeys": compared})
    else:
        for one in compared:
            _print_compared(one)
    _tell(newest, bad, end)


def _tell(simulation: Simulation, bad: BadLines, end: int | None) -> None:
    """What came late, and at the end what became of every event."""
    from stagepost.events import rfc3339
    from stagepost.journey.result import Outcome

    tell_late(simulation, bad)
    if end is not None and end < simulation.clock:
        complain(f"--until is before the newest event, of {rfc3339(simulation.clock)}, so it changes nothing")
    classes = ", ".join(f"{simulation.outcomes.get(outcome, 0):,} {outcome}" for outcome in Outcome)
    events = counted(sum(simulation.outcomes.values()), "event")
    note(f"{events} read: {classes}; {counted(simulation.moved, 'move')}")


def _pairs(older: Sequence[Journey], newer: Sequence[Journey]) -> list[tuple[Journey | None, Journey | None]]:
    """Journeys of the same name; the only one on each side whatever its name, because then no other can be meant."""
    if len(older) == len(newer) == 1:
        return [(older[0], newer[0])]
    before = {journey.name: journey for journey in older}
    pairs: list[tuple[Journey | None, Journey | None]] = [(before.pop(j.name, None), j) for j in newer]
    return [*pairs, *((journey, None) for journey in before.values())]


def _side_by_side(old: Funnel, new: Funnel, before: Journey | None, after: Journey | None) -> dict[str, Any]:
    from stagepost.journey.simulate import elsewhere, side_by_side

    old_rows = old.rows(before.name) if before is not None else ()
    new_rows = new.rows(after.name) if after is not None else ()
    old_places = old.places(before.name) if before is not None else {}
    new_places = new.places(after.name) if after is not None else {}
    named = after or before
    return {
        "journey": named.name if named is not None else "",
        "old": None if before is None else {"journey": before.name, "version": before.version},
        "new": None if after is None else {"journey": after.name, "version": after.version},
        "contacts": len(old_places.keys() | new_places.keys()),
        "places": [
            {"place": (b or a).place, "old": _counts(b), "new": _counts(a)}  # type: ignore[union-attr]
            for b, a in side_by_side(old_rows, new_rows)
        ],
        "elsewhere": [
            {"old": group.old, "new": group.new, "contacts": group.contacts}
            for group in elsewhere(old_places, new_places)
        ],
    }


def _counts(row: FunnelRow | None) -> dict[str, Any] | None:
    return None if row is None else {"kind": row.kind, "now": row.now, "reached": row.reached}


def _print_compared(one: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    same = not one["old"] or one["old"]["journey"] == one["journey"]
    versions = [f"{side} {one[side]['version'] if one[side] else '-'}" for side in ("old", "new")]
    if not same:
        versions[0] += f" of {one['old']['journey']}"
    table = Table("place", title=f"{one['journey']}: {', '.join(versions)}", title_justify="left")
    for column in ("now, old", "now, new", "reached, old", "reached, new"):
        table.add_column(column, justify="right")
    for row in one["places"]:
        cells = [str(row[side][key]) if row[side] else "-" for key in ("now", "reached") for side in ("old", "new")]
        table.add_row(row["place"], *cells)
    Console(highlight=False).print(table)
    groups = one["elsewhere"]
    data(f"elsewhere: {sum(group['contacts'] for group in groups):,} of {counted(one['contacts'], 'contact')}")
    for group in groups[:SHOWN_GROUPS]:
        data(f"  {group['old'] or 'none'} -> {group['new'] or 'none'}  {group['contacts']:,}")
    if len(groups) > SHOWN_GROUPS:
        data(f"  ... {len(groups) - SHOWN_GROUPS} more: --json prints all")
