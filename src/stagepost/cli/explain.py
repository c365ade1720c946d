"""``stagepost explain``: why a contact is where it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.event_files import BadLines, read_events, tell_late
from stagepost.cli.journey_files import files_of, journeys_of, parse_files, without_errors
from stagepost.cli.options import Config, Json, Kafka, Prefix, Redis, load_from
from stagepost.cli.output import (
    FAILED,
    PARTLY,
    Failure,
    complain,
    data,
    json_data,
    leave,
    progress_bar,
    server_failures,
)
from stagepost.wording import counted

if TYPE_CHECKING:
    from stagepost.edges.past import Past
    from stagepost.engine.story import Told
    from stagepost.events import Event
    from stagepost.journey.compile import Program
    from stagepost.journey.definition import Journey
    from stagepost.journey.explain import Due, Lack, Standing, Stayed
    from stagepost.journey.nearest import Near, Seen
    from stagepost.journey.result import Outcome
    from stagepost.journey.state import ContactState
    from stagepost.journey.verdict import Verdict
    from stagepost.settings import Settings


@dataclass
class Known:
    """What is known of the contact, wherever it came from."""

    state: ContactState
    program: Program
    clock: int
    moves: Sequence[Told]
    definitions: dict[tuple[str, str], Journey]
    events: list[tuple[Event, int]] = field(default_factory=list)
    """With ``--history`` or ``--events``."""
    outcomes: list[Outcome] = field(default_factory=list)
    """What became of each of them; empty where that cannot be told."""
    behind: str = ""
    """What to say of the clock where the time of day is further on."""


def add_to(app: typer.Typer) -> None:
    @app.command()
    def explain(
        contact: Annotated[str, typer.Argument(metavar="CONTACT", help="A contact id.")],
        journey: Annotated[str | None, typer.Option("--journey", metavar="J", help="Only this journey.")] = None,
        events: Annotated[
            str | None,
            typer.Option("--events", metavar="FILE|-", help="The contact as these events make it; needs no servers."),
        ] = None,
        journeys: Annotated[
            Path | None,
            typer.Option(
                "--journeys",
                metavar="PATH",
                help="Journey file or folder, for --events. Default: the setting journeys.",
            ),
        ] = None,
        history: Annotated[
            bool, typer.Option("--history", help="Read the contact's partition of the topics too: all that is there.")
        ] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Say why a contact is where it is, and what comes next.

        What moved it, with rule and line; what is due; which setbacks come nearer; what is missing for each higher
        stage, and the newest event that came near and did not count.

        Without servers, from a file of events: stagepost explain c-8841 --events events.ndjson

        Example: stagepost explain c-8841 --journey webinar-nurture
        """
        settings = load_from(config, kafka, redis, prefix, journeys).settings
        bad = BadLines()
        if events is not None:
            if history:
                raise typer.BadParameter("--events has the history already", param_hint="--history")
            known = _from_events(contact, settings.journeys, events, bad)
        else:
            try:
                known = from_redis(contact, settings)
            except Failure as error:
                raise Failure(f"{error}; without servers: --events FILE") from error
        if known is None:
            complain(f"{contact}: nothing is known of this contact")
            leave(FAILED)
        if history:
            past = read_history(contact, settings)
            known.events, known.moves = past.events, past.moves or known.moves
        _print(known, contact, journey, as_json)
        if bad.count:
            complain(f"{counted(bad.count, 'line')} skipped")
            leave(PARTLY)


def _from_events(contact: str, path: Path, events: str, bad: BadLines) -> Known | None:
    from stagepost.engine.story import told_of
    from stagepost.journey.compile import compile_program
    from stagepost.journey.simulate import Simulation

    definitions = journeys_of(without_errors(parse_files(files_of([path]))))
    mine: list[tuple[Event, int]] = []
    outcomes: list[Outcome] = []

    def watch(event: Event, at: int, outcome: Outcome) -> None:
        if event.contact == contact:
            mine.append((event, at))
            outcomes.append(outcome)

    simulation = Simulation(compile_program(definitions), watch=watch)
    moves = [told_of(move) for move in simulation.run(read_events(events, bad)) if move.contact == contact]
    tell_late(simulation, bad)
    state = simulation.states.get(contact)
    if state is None:
        return None
    by_version = {(each.name, each.version): each for each in definitions}
    return Known(state, simulation.program, simulation.clock, moves, by_version, mine, outcomes)


def from_redis(contact: str, settings: Settings) -> Known | None:
    from stagepost.events import MINUTE
    from stagepost.journey.compile import compile_program
    from stagepost.wiring import running_journeys

    reader = running_journeys(settings)
    with server_failures(settings.kafka.bootstrap_servers, settings.redis.url):
        found = reader.contact(contact)
        running = None if found is None else reader.running(found[0])
        moves = None if found is None else reader.story(found[0], contact)
    if found is None or running is None or moves is None:
        return None
    _, state = found
    activation = running.activation
    stored = {version: each for version, each in running.definitions.items() if each is not None}
    lost = sorted(name for name, version in activation.versions.items() if (name, version) not in stored)
    for name in lost:
        complain(f"{name}: its running definition is not stored, so nothing can be said of it")
    if activation.slot is not None and state.epoch < activation.seq:
        complain("a change of definitions is under way, and has not come to this contact yet")
    in_force = [stored[version] for version in activation.versions.items() if version in stored]
    older = [(name, version) for name, counts in activation.stays.items() for version in counts]
    program = compile_program(in_force, [stored[version] for version in older if version in stored])
    # The worker's clock stands while a partition has no records, until it is idle for long enough.
    idle = int(settings.engine.idle_after)
    behind = time.time() * 1_000_000 - running.clock > MINUTE
    told = f" (the partition's clock; without records it goes on after {idle} s, if a worker runs)" if behind else ""
    return Known(state, program, running.clock, moves, stored, behind=told)


def read_history(contact: str, settings: Settings) -> Past:
    """What Kafka still has of the contact; says so where that is not all."""
    from stagepost.edges.errors import MissingTopics
    from stagepost.edges.past import past_of
    from stagepost.wiring import kafka_settings

    with server_failures(settings.kafka.bootstrap_servers, settings.redis.url), progress_bar("reading") as progress:
        try:
            past = past_of(contact, kafka_settings(settings).base(), settings.prefix, progress)
        except MissingTopics as error:
            raise Failure(str(error)) from error
    if not past.whole:
        complain("the history is not whole: the broker stopped answering, or a transaction is open")
    return past


def _print(known: Known, contact: str, journey: str | None, as_json: bool) -> None:
    from stagepost.events import rfc3339
    from stagepost.journey.explain import standings

    if known.state.erased:
        if as_json:
            json_data({"contact": contact, "erased": rfc3339(known.state.erased), "journeys": []})
        else:
            data(f"{contact}: erased at {rfc3339(known.state.erased)}; later events are refused")
        return
    found = standings(known.program, known.state, known.clock, _seen(known, contact))
    if journey is not None and journey not in {each.journey for each in found}:
        complain(f"{journey}: no such journey runs; there are {', '.join(each.journey for each in found) or 'none'}")
        leave(FAILED)
    chosen = [each for each in found if journey in (None, each.journey)]
    if as_json:
        whole: dict[str, object] = {"contact": contact, "clock": rfc3339(known.clock), "erased": None}
        whole["journeys"] = [standing_json(known, each) for each in chosen]
        if known.events:
            whole["events"] = [_event_json(known, chosen, *lived) for lived in _lived(known)]
        json_data(whole)
        return
    data(f"as of {rfc3339(known.clock)}{known.behind}")
    for each in chosen:
        _print_standing(known, contact, each)
    if known.events:
        data("events")
        for event, at, outcome in _lived(known):
            moved = ", ".join(_moved_by(known, event, outcome))
            where = " ".join(filter(None, (event.campaign, _place(event.url), _scope(event)))) + _labels(
                _links_of(known, chosen, event)
            )
            acted = f"  => {moved}" if moved else ""
            marks = [] if outcome in (None, "applied") else [str(outcome)]
            marks += _origin(known, chosen, event, at) if outcome != "duplicate" else []
            mark = f"  ({'; '.join(marks)})" if marks else ""
            data(f"  {rfc3339(at)}  {event.type}  {where}{acted}{mark}".rstrip())


def _origin(known: Known, standings: Sequence[Standing], event: Event, at: int) -> list[str]:
    """Whether a machine made an event, in words; by journey where journeys see it differently."""
    if event.machine:
        return ["a machine made it"]
    said = _verdicts(known, standings, event, at)
    words = {verdict.words for verdict in said.values()}
    if len(words) == 1 and len(said) == len(standings):
        return list(words)
    return [f"in {journey} it {verdict.words}" for journey, verdict in said.items()]


def _verdicts(known: Known, standings: Sequence[Standing], event: Event, at: int) -> dict[str, Verdict]:
    from stagepost.journey.explain import verdicts

    found = verdicts(known.program, known.state, event, at)
    return {each.journey: found[each.journey] for each in standings if each.journey in found}


def _seen(known: Known, contact: str) -> Seen:
    """The events that are at hand; without any the clicks that moved the contact, of which not all is kept."""
    from stagepost.events import Event, parse_rfc3339
    from stagepost.journey.nearest import Seen

    if known.events:
        return Seen([(event, at) for event, at, outcome in _lived(known) if outcome != "duplicate"])
    clicks = []
    for move in known.moves:
        if move.cause is not None and move.cause[1] == "email.clicked":
            id_, type_, campaign, url = move.cause
            event = Event(id=id_, type=type_, occurred_at=move.at, contact=contact, campaign=campaign, url=url)
            clicks.append((event, parse_rfc3339(move.at)))
    return Seen(clicks, whole=False)


def _print_standing(known: Known, contact: str, standing: Standing) -> None:
    from stagepost.events import rfc3339

    where = {"none": "in no run", "active": standing.place, "exited": f"left by {standing.place}"}[standing.status]
    notes = [f"since {rfc3339(standing.since)}"] if standing.since else []
    notes += [f"best {standing.best}"] if standing.best not in (None, standing.place) else []
    notes += ["stalled"] if standing.stalled else []
    notes += ["goal reached in time"] if standing.goal else []
    title = f"{contact} in {standing.journey} (version {standing.version}): {where}"
    data(", ".join([title, *notes]))
    moves = _why(known, standing)
    if moves:
        data("  why")
    for move in moves:
        rule, labels = _rule_text(move.rule, _line(known, move)), _labels(_links_of_cause(known, move))
        data(f"    {move.at}  {move_text(move)}  ({rule})  {cause_text(move)}{labels}")
    if standing.run and (not moves or moves[-1].move < standing.move):
        data("    newer moves are not at hand: --history reads them")
    if standing.next:
        data("  due next")
    for due in standing.next:
        what = "verdict whether a person made the held click" if due.kind == "hold" else due.kind
        data(f"    {rfc3339(due.at)}  {what}  ({_rule_text(due.rule, due.line)})")
    if standing.returns is not None:
        data(f"  {standing.returns}")
    if standing.approaching:
        data("  approaching")
    for setback in standing.approaching:
        data("\n".join(stayed_lines(setback, "    ")))
    if standing.stayed:
        data("  missing" if standing.returns is None else "  missing for another run")
    for stayed in standing.stayed:
        data("\n".join(stayed_lines(stayed, "    ")))


def stayed_lines(stayed: Stayed, indent: str) -> Iterator[str]:
    """A rule that does not act, and under it what is missing for it."""
    yield f"{indent}{stayed.target}  ({_rule_text(stayed.rule, stayed.line)})"
    for lack in stayed.missing:
        yield from _lack_lines(lack, f"{indent}  ")
    if not stayed.missing:
        yield f"{indent}  its condition holds; the next event or timer that it names moves the contact there"
        yield f"{indent}  (so far such events came late, or while something was missing)"


def _lack_lines(lack: Lack, indent: str) -> Iterator[str]:
    yield f"{indent}{lack.condition}: {lack.have}"
    if lack.near is not None:
        yield f"{indent}  nearest: {_near_text(lack.near)}"
    for part in lack.parts:
        yield from _lack_lines(part, indent + "  ")


def _near_text(near: Near) -> str:
    from stagepost.events import rfc3339

    event = " ".join(filter(None, (near.type, near.campaign, near.url)))
    tried = f" ({', '.join(near.tried)})" if near.tried else ""
    return f"{rfc3339(near.at)}  {event}: {near.why}{tried}"


def _why(known: Known, standing: Standing) -> list[Told]:
    """The moves of the present run, or of the last one."""
    runs = [move for move in known.moves if move.journey == standing.journey]
    last = [move for move in runs if move.run.rpartition("/")[2] == str(standing.run)]
    return sorted(last, key=lambda move: move.move)


def _line(known: Known, move: Told) -> int | None:
    from stagepost.journey.lines import line_of

    definition = known.definitions.get((move.journey, move.version))
    return None if definition is None else line_of(definition, move.rule)


def _lived(known: Known) -> Iterator[tuple[Event, int, Outcome | None]]:
    """The events with what became of them."""
    outcomes: Sequence[Outcome | None] = known.outcomes or [None] * len(known.events)
    for (event, at), outcome in zip(known.events, outcomes, strict=True):
        yield event, at, outcome


def _moved_by(known: Known, event: Event, outcome: Outcome | None) -> list[str]:
    """The moves that an event made; a duplicate has the id of the one that made them."""
    if outcome == "duplicate":
        return []
    return [
        f"{move.journey}: {move.source or 'none'} -> {move.to}"
        for move in known.moves
        if move.cause is not None and move.cause[0] == event.id
    ]


def move_text(move: Told) -> str:
    return f"stall in {move.to}" if move.kind == "stall" else f"{move.source or 'none'} -> {move.to}"


def _rule_text(rule: str, line: int | None) -> str:
    return rule if line is None else f"{rule}, line {line}"


def _links_of(known: Known, standings: Sequence[Standing], event: Event) -> list[dict[str, str | None]]:
    """The links that an event's URL is under, in each of these journeys."""
    from stagepost.journey.nearest import touched

    if event.type != "email.clicked":
        return []
    return [
        {"journey": standing.journey, "link": link.name, "means": link.means}
        for standing in standings
        for link in touched(known.program.by_name[standing.journey].definition, event.url)
    ]


def _links_of_cause(known: Known, move: Told) -> list[dict[str, str | None]]:
    """The same of the click that moved the contact, by the definition that moved it."""
    from stagepost.journey.nearest import touched

    definition = known.definitions.get((move.journey, move.version))
    if definition is None or move.cause is None or move.cause[1] != "email.clicked":
        return []
    whole = next((event.url for event, _ in known.events if event.id == move.cause[0]), move.cause[3])
    return [{"link": link.name, "means": link.means} for link in touched(definition, whole)]


def _labels(links: Sequence[dict[str, str | None]]) -> str:
    """``[pricing: intent]`` behind a URL; empty where it is under no link."""
    names = dict.fromkeys(f"{link['link']}: {link['means']}" if link["means"] else str(link["link"]) for link in links)
    return f"  [{', '.join(names)}]" if names else ""


def cause_text(move: Told) -> str:
    if move.timer is not None:
        return f"{move.timer[0]}, due {move.timer[1]}"
    if move.cause is None:
        return "change of the definition"
    _, type_, campaign, url = move.cause
    return " ".join(filter(None, (type_, campaign, url)))


def _scope(event: Event) -> str | None:
    """What a withdrawal or re-subscription is about."""
    from stagepost.journey.register import scope_of

    spoken_of = event.type in ("email.unsubscribed", "email.resubscribed", "email.subscribed")
    return ":".join(filter(None, scope_of(event))) if spoken_of else None


def _place(url: str | None) -> str | None:
    """A URL without its query, which carries tokens of people."""
    return url.partition("?")[0] if url else None


def standing_json(known: Known, standing: Standing) -> dict[str, object]:
    from stagepost.events import rfc3339

    return {
        "journey": standing.journey,
        "version": standing.version,
        "status": standing.status,
        "run": standing.run,
        "move": standing.move,
        "place": standing.place,
        "best": standing.best,
        "since": rfc3339(standing.since) if standing.since else None,
        "stalled": standing.stalled,
        "goal": standing.goal,
        "why": [told_json(known, move) for move in _why(known, standing)],
        "next": [_due_json(due) for due in standing.next],
        "approaching": [_stayed_json(setback) for setback in standing.approaching],
        "missing": [_stayed_json(stayed) for stayed in standing.stayed],
        "returns": standing.returns,
    }


def told_json(known: Known, move: Told) -> dict[str, object]:
    cause, timer = move.cause, move.timer
    return {
        "id": move.id,
        "move": move.move,
        "kind": move.kind,
        "from": move.source,
        "to": move.to,
        "at": move.at,
        "rule": move.rule,
        "line": _line(known, move),
        "version": move.version,
        "cause": None
        if cause is None
        else {
            **dict(zip(("id", "type", "campaign", "url"), cause, strict=True)),
            "links": _links_of_cause(known, move),
        },
        "timer": None if timer is None else {"name": timer[0], "due": timer[1]},
        "late": move.late,
    }


def _due_json(due: Due) -> dict[str, object]:
    from stagepost.events import rfc3339

    return {"due": rfc3339(due.at), "timer": due.kind, "rule": due.rule, "line": due.line}


def _stayed_json(stayed: Stayed) -> dict[str, object]:
    return {
        "to": stayed.target,
        "rule": stayed.rule,
        "line": stayed.line,
        "missing": [_lack_json(lack) for lack in stayed.missing],
    }


def _lack_json(lack: Lack) -> dict[str, object]:
    return {
        "condition": lack.condition,
        "have": lack.have,
        "parts": [_lack_json(part) for part in lack.parts],
        "near": None if lack.near is None else _near_json(lack.near),
    }


def _near_json(near: Near) -> dict[str, object]:
    from stagepost.events import rfc3339

    return {
        "at": rfc3339(near.at),
        "type": near.type,
        "campaign": near.campaign,
        "url": near.url,
        "why": near.why,
        "tried": list(near.tried),
    }


def _event_json(
    known: Known, standings: Sequence[Standing], event: Event, at: int, outcome: Outcome | None
) -> dict[str, object]:
    from stagepost.events import rfc3339

    return {
        "id": event.id,
        "type": event.type,
        "at": rfc3339(at),
        "campaign": event.campaign,
        "url": _place(event.url),
        "links": _links_of(known, standings, event),
        "moved": _moved_by(known, event, outcome),
        "outcome": outcome,
        "machine": event.machine,
        "judged": {
            journey: {"kind": verdict.kind, "why": verdict.words}
            for journey, verdict in _verdicts(known, standings, event, at).items()
        },
    }
