"""``stagepost plan``: what other journey files would change, before they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from stagepost.cli.event_files import BadLines, read_events, tell_late
from stagepost.cli.journey_files import files_of, journeys_of, parse_files, without_errors
from stagepost.cli.options import Config, Json, Prefix, Redis, load_from
from stagepost.cli.output import Failure, complain, data, json_data, leave, note, progress_bar
from stagepost.wording import counted

if TYPE_CHECKING:
    from stagepost.edges.running import Running, RunningJourneys
    from stagepost.journey.definition import Journey
    from stagepost.journey.plan_change import Movement, RuleChange
    from stagepost.settings import Settings

CHANGES = 2
"""Exit code for "there is a difference", as other planning tools have it; so usage errors need another one."""

USAGE_64 = 64


class _Plan(TyperCommand):
    """Usage errors end with 64, because 2 means changes."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _usage_is_64():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _usage_is_64():
            return super().invoke(ctx)


def add_to(app: typer.Typer) -> None:
    @app.command(cls=_Plan)
    def plan(
        paths: Annotated[
            list[Path],
            typer.Argument(metavar="PATH", help="Journey files, or folders of them: a folder is all there will be."),
        ],
        events: Annotated[
            str | None,
            typer.Option(
                "--events", metavar="FILE|-", help="Contacts as these events make them, instead of those in Redis."
            ),
        ] = None,
        against: Annotated[
            list[Path] | None,
            typer.Option("--against", metavar="PATH", help="Old journey files, instead of the running definitions."),
        ] = None,
        config: Config = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Show what changed files would do: rules and contacts.

        Which rules change, and how many contacts would move from where to where at the moment of the change. Where they
        would stand had the new files been in force from the start, simulate --against says.

        Against the running definitions and contacts in Redis; with --events against contacts that a file makes, for
        which a journey that is not running yet counts from its first event. Exit code 0: nothing changes, 2: changes,
        1: error, 64: wrong usage.

        Example: stagepost plan journeys/ --redis redis://localhost:6379/0
        """
        new = journeys_of(without_errors(parse_files(files_of(paths))))
        whole = any(path.is_dir() for path in paths)
        if against is not None and events is None:
            raise typer.BadParameter("old files have no contacts: add --events FILE", param_hint="--against")
        if against is not None:
            old: Mapping[str, Journey | None] = {
                journey.name: journey for journey in journeys_of(without_errors(parse_files(files_of(against))))
            }
            partitions: Sequence[Running] = ()
            running = None
        else:
            running = _running(_settings(config, redis, prefix), needed=events is None)
            partitions = [] if running is None else _partitions(running)
            old = _in_force(partitions)
        changes = _changes(old, new, whole)
        others = [journey for name, journey in old.items() if journey and name not in {j.name for j in new}]
        after = new if whole else [*new, *others]
        bad = BadLines()
        if events is not None:
            known = [journey for journey in old.values() if journey is not None]
            movement = _over_events(known, after, events, bad)
        else:
            assert running is not None, "without events Redis was needed"
            movement = _over_contacts(running, partitions, after)
        _print(changes, movement, as_json)
        if not movement.looked_at:
            if events is not None:
                why = "the events make none"
            elif old and not changes:
                why = "nothing changes"
            elif old and not any(journey.name in old for journey in new):
                why = "none of these journeys is running yet"
            else:
                why = "Redis holds none under this prefix"
            note(f"no contact was looked at: {why}, so only rules were compared")
        if bad.count:
            complain(f"{counted(bad.count, 'line')} skipped")
        if changes or movement.rows():
            leave(CHANGES)


def _settings(config: Path | None, redis: str | None, prefix: str | None) -> Settings:
    from stagepost.settings import SettingsError

    try:
        return load_from(config, None, redis, prefix).settings
    except SettingsError as error:
        complain(f"stagepost: {error}")
        leave(USAGE_64)


def _running(settings: Settings, needed: bool) -> RunningJourneys | None:
    """The running journeys; None when Redis does not answer and nobody needs it to."""
    from stagepost.edges.errors import MirrorUnavailable, in_words
    from stagepost.wiring import running_journeys

    running = running_journeys(settings)
    try:
        running.partitions()
    except MirrorUnavailable as error:
        told = in_words(error, settings.kafka.bootstrap_servers, settings.redis.url) or str(error)
        if needed:
            raise Failure(told) from error
        complain(f"no running definitions, so all journeys count as new; old files: --against PATH. {told}")
        return None
    return running


def _partitions(running: RunningJourneys) -> list[Running]:
    found = [running.running(partition) for partition in range(running.partitions())]
    return [partition for partition in found if partition is not None]


def _in_force(partitions: Sequence[Running]) -> dict[str, Journey | None]:
    """By name; None for one that runs and whose definition is not stored. Of several versions the newest change."""
    old: dict[str, Journey | None] = {}
    versions: dict[str, set[str]] = {}
    for partition in sorted(partitions, key=lambda each: each.activation.clock):
        for name, version in partition.activation.versions.items():
            old[name] = partition.definitions.get((name, version))
            versions.setdefault(name, set()).add(version)
    for name, several in versions.items():
        if len(several) > 1:
            said = f"partitions run {len(several)} versions, a change is under way; rules are compared with one"
            complain(f"{name}: {said}")
    return old


def _changes(old: Mapping[str, Journey | None], new: Sequence[Journey], whole: bool) -> list[RuleChange]:
    from stagepost.journey.plan_change import rule_changes

    changes: list[RuleChange] = []
    for journey in sorted(new, key=lambda each: each.name):
        was = old.get(journey.name)
        if journey.name in old and was is None:
            complain(f"{journey.name}: the running definition is not stored, so its rules cannot be compared")
        changes += rule_changes(was, journey)
    if whole:
        for name in sorted(old.keys() - {journey.name for journey in new}):
            changes += rule_changes(old[name], None)
    return changes


def _over_events(old: Sequence[Journey], new: Sequence[Journey], events: str, bad: BadLines) -> Movement:
    """Contacts as the events make them under ``old``; journeys that are not running yet are folded from the start."""
    from stagepost.journey.compile import compile_program
    from stagepost.journey.plan_change import Movement, places
    from stagepost.journey.simulate import Simulation

    running = compile_program(old)
    unknown = [journey for journey in new if journey.name not in running.by_name]
    simulation = Simulation(compile_program([*old, *unknown]))
    for _ in simulation.run(read_events(events, bad)):
        pass
    tell_late(simulation, bad)
    before = {contact: places(state, running) for contact, state in simulation.states.items()}
    simulation.change(new)
    for _ in simulation.run(()):
        pass
    movement = Movement()
    for contact, state in simulation.states.items():
        movement.add(before[contact], places(state, simulation.program))
    return movement


def _over_contacts(running: RunningJourneys, partitions: Sequence[Running], new: Sequence[Journey]) -> Movement:
    from stagepost.engine.definitions import switch_of
    from stagepost.journey.compile import compile_program
    from stagepost.journey.plan_change import Movement, after_switch, places

    movement = Movement()
    in_force = {journey.name: journey for journey in new}
    total = len(partitions) * running.slots
    with progress_bar("reading") as progress:
        for number, partition in enumerate(partitions):
            switch = switch_of(
                partition.activation,
                list(in_force.values()),
                lambda version, of=partition: of.definitions.get(version),  # type: ignore[misc]
                seq=partition.seq + 1,
                in_off=partition.next_offset,
                clock=partition.clock,
            )
            if not switch.before:
                continue
            shown = compile_program(new)
            for slots, contacts in running.states(partition.partition):
                for contact, state in contacts:
                    if not state.erased:
                        then = after_switch(switch, contact, state, partition.clock)
                        movement.add(places(state, shown), places(then, shown))
                progress(number * running.slots + slots, total)
    return movement


def _print(changes: Sequence[RuleChange], movement: Movement, as_json: bool) -> None:
    rows = movement.rows()
    if as_json:
        json_data(
            {
                "changes": [
                    {
                        "journey": change.journey,
                        "rule": change.rule,
                        "change": change.kind,
                        "before": change.before,
                        "after": change.after,
                        "line_before": change.line_before,
                        "line_after": change.line_after,
                    }
                    for change in changes
                ],
                "moves": [
                    {"journey": row.journey, "from": row.source, "to": row.target, "contacts": row.contacts}
                    for row in rows
                ],
                "contacts": movement.looked_at,
            }
        )
        return
    for change in changes:
        data(_change_line(change))
    if not changes:
        data("no rule changes")
    for row in rows:
        data(f"{row.contacts:>9}  {row.journey}: {row.source or 'none'} -> {row.target or 'none'}")
    moving = sum(row.contacts for row in rows)
    data(f"{counted(moving, 'move')} of {counted(movement.looked_at, 'contact')}")


def _change_line(change: RuleChange) -> str:
    sign = {"added": "+", "removed": "-", "changed": "~", "moved": "^"}[change.kind]
    before = change.before if change.line_before is None else f"{change.before} (line {change.line_before})"
    after = change.after if change.line_after is None else f"{change.after} (line {change.line_after})"
    if change.kind == "changed":
        what = f"{before} -> {after}"
    elif change.kind == "moved":
        what = f"{change.after}, line {change.line_before} -> {change.line_after}"
    else:
        what = str(after if change.kind == "added" else before)
    return f"{sign} {change.journey} {change.rule}: {what}"


@contextmanager
def _usage_is_64() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "exit_code", None) == 2 and hasattr(error, "show"):
            error.exit_code = USAGE_64  # type: ignore[attr-defined]
        raise
