"""The law of moves: which rule of a journey acts, what it does to the run, and the record of it.

The only place where a stage changes. The law itself stands as a table in ``law.py``; what follows carries it out.

Facts are recorded before any rule is looked at. An event older than the clock by more than ``lateness`` only records
facts, unless it is a withdrawal or a complaint: those may exit.
May not contain: conditions (``conditions.py``), the reading of events (``step.py``), a clock.

The Runs handed in here are the caller's own copies (``own``); a given state is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

from stagepost.events import (
    Cause,
    Credit,
    Event,
    SendRef,
    TimerRef,
    Transition,
    rfc3339,
    seconds,
    transition_id,
)
from stagepost.journey import register
from stagepost.journey.compile import JourneyProgram, Program
from stagepost.journey.conditions import NOTHING_SINCE_EXIT, OPENS_SINCE_EXIT, Hit, Leaf
from stagepost.journey.result import Count
from stagepost.journey.sends import NOTHING, Named
from stagepost.journey.state import ACTIVE, EXITED, ContactState, Held, Run, campaign_number, copy_run, number

LATE_EXITS = frozenset({"email.unsubscribed", "email.complained"})
"""What ends a run even beyond ``lateness``."""

_text = lru_cache(maxsize=64)(rfc3339)
"""A record names one time up to four times: 0.1 us instead of 0.9 for each but the first."""

Touches = Sequence[tuple[Leaf, int]]
"""Leaves that an event matched, with what it is to them (``conditions.FIRST``, ``THEN``)."""


class Scene(Struct, gc=False):
    """One step under way: the contact's new state, the event or timer at hand, and what came of it so far."""

    program: Program
    contact: str
    state: ContactState
    at: int
    """The event's own time, or the timer's due time."""
    clock: int
    type: str = ""
    active: bool = False
    """``quiet`` or ``no_click`` may count from such an event."""
    send: Named = NOTHING
    event: Event | Held | None = None
    """What a record names as its cause; None for a timer."""
    timer: TimerRef | None = None
    moves: list[Transition] = []
    counts: list[Count] = []
    refused: tuple[str, ...] = ()
    retimed: bool = False
    """Some timer may have changed, so the contact's first one must be looked up anew."""


def act(scene: Scene, journey: JourneyProgram, touches: Touches, calm: bool) -> None:
    """Record in one journey what the event is to it, then move the contact if a rule of its own holds.

    ``calm``: a click that means disengagement. A held click is never late: it has only waited for its verdict.
    """
    state = scene.state
    known = state.runs.get(journey.name)
    active = False
    setback = best = -1
    if known is not None:
        if known.status == ACTIVE:
            active = True
            setback = journey.setback_rank.get(known.place, -1)
            best = journey.rank.get(known.best, -1)
        elif known.status == EXITED and not _may_ever_return(journey, known):
            return
    counting = []
    for touch in touches:  # a comprehension is a call of its own: 0.2 us
        leaf = touch[0]
        if leaf.reach > best and (active or leaf.staged if leaf.back is None else setback in leaf.back):
            counting.append(touch)
    watching = scene.active and journey.watches and not calm
    if not counting and not watching:
        return
    if known is None:
        run = Run()
    else:
        run = copy_run(known)
        run.facts = known.facts.copy()  # its timers rarely change: ``_retime`` copies them
    definition = journey.definition
    since = register.consent_since(state, definition.consent) if definition.consent is not None else 0
    if watching:
        _watch(scene, journey, run)
        _retime(scene, run, journey.activity_timers if active else journey.staged_timers, since)
        if setback >= 0:
            _retime(scene, run, journey.back_timers[setback], since)
    if counting:
        mine: list[Leaf] = []
        hit = Hit(scene.at, 0, scene.clock - journey.memory, since)
        for leaf, bits in counting:
            if leaf.grouped and not _group(scene, hit):
                continue
            if leaf.count(run, hit, bits):
                _retime(scene, run, (leaf,), since)
            if not leaf.kind:
                mine.append(leaf)
        if mine and not (scene.moves and any(move.journey == journey.name for move in scene.moves)):
            late = scene.at < scene.clock - definition.lateness and not isinstance(scene.event, Held)
            decide(scene, journey, run, mine, touches, hit, late)
    if known is not None or watching or run.facts or run.status:
        runs = state.runs.copy()
        runs[journey.name] = run
        state.runs = runs


def _watch(scene: Scene, journey: JourneyProgram, run: Run) -> None:
    """Keep the newest times that ``quiet`` and ``no_click`` count from."""
    at = scene.at
    if scene.type == "email.opened":
        if at > run.opened:
            run.opened = at
        if run.settled == NOTHING_SINCE_EXIT:
            run.settled = OPENS_SINCE_EXIT
        return
    if at > run.active:
        run.active = at
    if run.status == EXITED:
        run.settled = 0
    if scene.type == "email.clicked" and journey.no_clicks and at >= run.clicked and at >= run.recovered:
        run.clicked = at
        for leaf in journey.no_clicks:
            leaf.restart(run, at)


def decide(
    scene: Scene, journey: JourneyProgram, run: Run, mine: list[Leaf], touches: Touches, hit: Hit, late: bool
) -> None:
    """The law of moves, for the rules that own one of the touched leaves."""
    if run.status != ACTIVE:
        if not late:
            _try_enter(scene, journey, run, mine, touches, hit)
        return
    facts, at, words = run.facts, scene.at, scene.state.register
    for place in _places([leaf.exits for leaf in mine]):
        exit_ = journey.exits[place]
        if (not late or scene.type in LATE_EXITS) and exit_.holds(facts, at, words):
            exit_run(scene, journey, run, exit_.name, exit_.path, credit=_credit(scene, journey))
            return
    if late:
        return
    present = journey.setback_rank.get(run.place, -1)
    for place in reversed(_places([leaf.setbacks for leaf in mine])):
        setback = journey.setbacks[place]
        if place > present and run.stage in setback.sources and setback.holds(facts, at, words):
            _set_back(scene, journey, run, setback.name, setback.path)
            return
    if present >= 0:
        setback = journey.setbacks[present]
        if setback.until is None:
            return
        if any(leaf.until and leaf.back is not None for leaf in mine) and setback.until(facts, at, words):
            _recover(scene, journey, run, setback.until_path)
            return
    best = journey.rank.get(run.best, -1)
    for place in reversed(_places([leaf.stages for leaf in mine])):
        if place <= best:
            return
        stage = journey.stages[place]
        if stage.holds(facts, at, words):
            _to_stage(scene, journey, run, "advance", place, stage.path)
            return


def _try_enter(scene: Scene, journey: JourneyProgram, run: Run, mine: list[Leaf], touches: Touches, hit: Hit) -> None:
    """Begin a run at the highest stage that holds; its counts restart, the entering event is the first counted."""
    if run.status == EXITED and not _may_return(journey, run, scene.at):
        return
    for place in reversed(_places([leaf.stages for leaf in mine])):
        if journey.definition.enter == "first" and place > 0:
            continue
        stage = journey.stages[place]
        if not stage.holds(run.facts, scene.at, scene.state.register):
            continue
        kind = "reenter" if run.number else "enter"
        run.status, run.number, run.move, run.version = ACTIVE, run.number + 1, 0, 0
        run.facts, run.timers, run.recovered = {}, {}, 0
        run.peaked = run.goal = False
        run.began = scene.at
        run.best = ""
        for leaf, bits in touches:
            if leaf.back is None and not (leaf.grouped and not _group(scene, hit)):
                leaf.count(run, hit, bits)
        _to_stage(scene, journey, run, kind, place, stage.path)
        return


def _may_ever_return(journey: JourneyProgram, run: Run) -> bool:
    reenter = journey.definition.reenter
    return reenter is not None and reenter.after is not None and run.place not in reenter.never_after


def _may_return(journey: JourneyProgram, run: Run, at: int) -> bool:
    """``always`` (after 0) lets in on an event older than the exit too (journeys.md 3.1)."""
    reenter = journey.definition.reenter
    if reenter is None or reenter.after is None or run.place in reenter.never_after:
        return False
    return reenter.after == 0 or at - run.last >= reenter.after


def _retime(scene: Scene, run: Run, leaves: Iterable[Leaf], since: int) -> None:
    """Work out anew when these leaves are due, from the facts. The timers may still be those of the given run."""
    for leaf in leaves:
        due = leaf.retime(run, since)
        if due == run.timers.get(leaf.key, 0):
            continue
        scene.retimed = True
        run.timers = run.timers.copy()
        if due:
            run.timers[leaf.key] = due
        else:
            del run.timers[leaf.key]


def retime_all(scene: Scene, journey: JourneyProgram, run: Run) -> None:
    """After a move: every timer of where the contact is now, and no other."""
    run.timers = {}
    scene.retimed = True
    since = register.consent_since(scene.state, journey.definition.consent)
    if run.status != ACTIVE:
        _retime(scene, run, journey.staged_timers, since)
        return
    _retime(scene, run, journey.timers, since)
    _retime(scene, run, _back_timers(journey, run), since)
    place = journey.rank.get(run.place)
    if place is not None and not run.stalled and (span := journey.stages[place].stalls_after) is not None:
        run.timers[journey.stall_key] = run.since + span


def _back_timers(journey: JourneyProgram, run: Run) -> tuple[Leaf, ...]:
    present = journey.setback_rank.get(run.place, -1) if run.status == ACTIVE else -1
    return journey.back_timers[present] if present >= 0 else ()


def _to_stage(scene: Scene, journey: JourneyProgram, run: Run, kind: str, place: int, rule: str) -> None:
    """Move into a stage: ``enter``, ``reenter``, ``advance`` or ``recover``."""
    first = kind in ("enter", "reenter")
    at = scene.at if first else max(scene.at, run.last)
    source, dwell = (None, None) if first else (run.place, at - run.since)
    run.place = run.stage = journey.stages[place].name
    if place > journey.rank.get(run.best, -1):
        run.best = run.stage
    _settle(journey, run, at)
    run.settled = at
    goal = False
    if place >= journey.goal_rank and not run.peaked:
        within = journey.definition.goal.within if journey.definition.goal is not None else None
        run.peaked = True
        run.goal = goal = within is None or at - run.began < within
    if kind == "recover":
        run.recovered = at
        for leaf in journey.no_clicks:
            leaf.restart(run, at)
    _write(scene, journey, run, kind, source, run.place, rule, at, dwell, goal, _credit(scene, journey))
    retime_all(scene, journey, run)


def _recover(scene: Scene, journey: JourneyProgram, run: Run, rule: str) -> None:
    """Out of a setback, to the better of the best stage and the highest that holds, be it by this event or not."""
    place = journey.rank.get(run.best, 0)
    for higher in range(len(journey.stages) - 1, place, -1):
        if journey.stages[higher].holds(run.facts, scene.at, scene.state.register):
            place = higher
            break
    _to_stage(scene, journey, run, "recover", place, rule)


def _set_back(scene: Scene, journey: JourneyProgram, run: Run, name: str, rule: str) -> None:
    at = max(scene.at, run.last)
    source, dwell = run.place, at - run.since
    run.place = name
    _settle(journey, run, at)
    _write(scene, journey, run, "setback", source, name, rule, at, dwell, False, _credit(scene, journey))
    retime_all(scene, journey, run)


def exit_run(scene: Scene, journey: JourneyProgram, run: Run, name: str, rule: str, credit: Credit | None) -> None:
    """End the run. What it counted is gone; the times of activity stay, a later run may count from them."""
    at = max(scene.at, run.last)
    source, dwell = run.place, at - run.since
    run.status, run.place, run.stage = EXITED, name, ""
    run.since, run.stalled = at, False
    run.settled = NOTHING_SINCE_EXIT
    run.facts, run.timers = {}, {}
    scene.retimed = True
    _write(scene, journey, run, "exit", source, name, rule, at, dwell, False, credit)


def stall(scene: Scene, journey: JourneyProgram, run: Run) -> None:
    """Report a stay that is too long. It bounds later records, but the stay goes on from the last real move."""
    at = max(scene.at, run.last)
    run.stalled = True
    rule = journey.stages[journey.rank[run.place]].path
    credit = _credit(scene, journey)
    _write(scene, journey, run, "stall", run.place, run.place, rule, at, at - run.since, False, credit)


def migrate(scene: Scene, journey: JourneyProgram, run: Run, place: int) -> None:
    """Put the run into a stage because the changed definition has no such place any more."""
    at = max(scene.at, run.last)
    source, dwell = run.place, at - run.since
    stage = journey.stages[place]
    run.place = run.stage = stage.name
    if place > journey.rank.get(run.best, -1):
        run.best = stage.name
    _settle(journey, run, at)
    run.settled = at
    _write(scene, journey, run, "migrate", source, stage.name, stage.path, at, dwell, False, _credit(scene, journey))


def _settle(journey: JourneyProgram, run: Run, at: int) -> None:
    """A new stay begins; ``stuck`` and what counted towards the end of a setback count from now."""
    run.since, run.stalled = at, False
    for key in [key for key in run.facts if key in journey.stay_keys]:
        del run.facts[key]


def _write(
    scene: Scene,
    journey: JourneyProgram,
    run: Run,
    kind: str,
    source: str | None,
    to: str,
    rule: str,
    at: int,
    dwell: int | None,
    goal: bool,
    credit: Credit | None,
) -> None:
    """Make the record of a move. ``late``: its event is older than the contact's previous record in this journey."""
    late = scene.event is not None and scene.at < run.last
    run.move += 1
    run.last = at
    last = scene.state.last_send
    name = run_id(scene.contact, journey.name, run)
    scene.moves.append(
        Transition(
            id=transition_id(journey.name, scene.contact, name, run.move),
            journey=journey.name,
            version=journey.version,
            contact=scene.contact,
            run=name,
            from_=source,
            to=to,
            kind=kind,
            at=_text(at),
            rule=rule,
            cause=_cause(scene),
            timer=scene.timer,
            credit=credit,
            last_send=SendRef(last.campaign, last.message, _text(last.at)) if last is not None else None,
            goal=goal,
            move=run.move,
            dwell_s=seconds(dwell) if dwell is not None else None,
            best=run.best or None,
            late=late,
        )
    )


def _credit(scene: Scene, journey: JourneyProgram) -> Credit | None:
    """The send that earned a record: that of its own e-mail event, else of the last human click in the window."""
    at = scene.at
    send = scene.send
    if scene.type.startswith("email.") and (send.campaign is not None or send.message is not None):
        return Credit(send.campaign, send.message, _text(at), "direct")
    lens = scene.state.lenses.get(journey.lens)
    if lens is None:
        return None
    for click in reversed(lens.clicks):
        if click.at <= at:
            if at - click.at > journey.definition.attribution:
                return None
            return Credit(click.campaign, click.message, _text(click.at), "last_click")
    return None


def _cause(scene: Scene) -> Cause | None:
    event = scene.event
    if event is None:
        return None
    machine = event.machine if isinstance(event, Event) else None
    return Cause(event.id, scene.type, scene.send.campaign, scene.send.message, without_query(event.url), machine)


def without_query(url: str | None) -> str | None:
    """A URL as it may leave the worker: queries carry tokens of people (experience.md 6)."""
    return url.partition("?")[0] if url else url


def _group(scene: Scene, hit: Hit) -> int:
    """What ``per: campaign`` and ``no_click`` count once, as a number; 0 for neither campaign nor message."""
    if not hit.group:
        send = scene.send
        if send.campaign is not None:
            hit.group = campaign_number(send.campaign)
        elif send.message is not None:
            hit.group = number(f"message {send.message}")
    return hit.group


def _places(places: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Rules of several leaves, once each, in list order."""
    return places[0] if len(places) == 1 else tuple(sorted({place for of_leaf in places for place in of_leaf}))


def own(run: Run) -> Run:
    """A copy whose facts and timers may be changed."""
    copy = copy_run(run)
    copy.facts = run.facts.copy()
    copy.timers = run.timers.copy()
    return copy


def run_id(contact: str, journey: str, run: Run) -> str:
    return f"{contact}/{journey}/{run.number}"
