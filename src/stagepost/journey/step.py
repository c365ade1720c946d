"""The one step that moves a contact: (state, event | timer) -> (state, records, counts). The only place where a stage changes.

The law (journeys.md 3), at most one move for a step, the first of these that applies:

    LAW   kind       from              to                      when the step's event or timer is one of the rule's own and
    1     exit       a run             the exit                the first exit in the list that holds
    2     setback    a run             the setback             the last setback that holds, whose ``from`` has the stage,
                                                               later in the list than the present setback
    3     recover    a setback         the better of best and  ``until`` holds, counted from the setback on
                                       the highest that holds
    4     advance    a run             a higher stage          the highest stage above the best that holds; not out of a
                                                               setback that says ``until: never``
          enter      nothing           a stage                 the same; with ``enter: first`` only the first stage
          reenter    an exit           a stage                 the same, if ``reenter`` allows
    -     stall      a stage           itself                  its ``stalls_after`` has passed; leaves the stay as it is

Facts are recorded before any rule is looked at. An event older than the clock by more than ``lateness`` only records
facts, unless it is a withdrawal or a complaint: those may exit.
May not contain: conditions (``conditions.py``), a clock, storage keys, provider names.

A step never changes the state it is given: it fills a copy, and copies each part before it changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import UNSET, Struct

from stagepost.events import (
    Cause,
    Credit,
    Event,
    Membership,
    SendRef,
    TimerRef,
    Transition,
    rfc3339,
    seconds,
    transition_id,
)
from stagepost.journey import machines, register, sends
from stagepost.journey.compile import (
    COMMON_LENS,
    SUBSCRIPTIONS,
    Entry,
    JourneyProgram,
    LensProgram,
    Program,
    Route,
    is_custom,
)
from stagepost.journey.conditions import Hit, Leaf
from stagepost.journey.result import Count, Outcome, Step
from stagepost.journey.state import (
    ACTIVE,
    CREDIT_CLICKS,
    ERASED_FOR,
    EXITED,
    HELD_CLICKS,
    MACHINE,
    SEEN_KEYS,
    SEEN_SPAN,
    ContactState,
    Held,
    Lens,
    Run,
    SendAt,
    copy_run,
    copy_state,
    digest,
    next_due,
    number,
)

__all__ = ["LAW", "memberships", "next_due", "step_event", "step_tick"]


@dataclass(frozen=True, slots=True)
class Law:
    """One row of the table of moves: what ``graph`` and ``explain`` call it."""

    kind: str
    source: str
    target: str
    when: str


LAW = (
    Law("exit", "a run", "the exit", "the first exit that holds"),
    Law("setback", "a run", "the setback", "the last setback that holds, after the present one, from this stage"),
    Law("recover", "a setback", "the better of the best stage and the highest that holds", "until holds"),
    Law("advance", "a run", "a higher stage", "the highest stage above the best that holds"),
    Law("enter", "nothing", "a stage", "the highest stage that holds"),
    Law("reenter", "an exit", "a stage", "the highest stage that holds, if reenter allows"),
    Law("stall", "a stage", "itself", "stalls_after has passed"),
)
"""The table above as data, in order of precedence; ``stall`` stands apart."""

LATE_EXITS = frozenset({"email.unsubscribed", "email.complained"})
"""What ends a run even beyond ``lateness``."""

_APPLIED, _LATE = Outcome.APPLIED, Outcome.LATE
CONSENT_EXIT = "consent_withdrawn"
HELD_TYPE = "email.clicked"
URL_LIMIT = 1024
"""Characters of a held click's URL, which is kept for its record only."""

Touches = list[tuple[Leaf, int]]
"""Leaves that an event matched, with what it is to them (``conditions.FIRST``, ``THEN``)."""


class _Scene(Struct, gc=False):
    """One step under way: the contact's new state, the event or timer at hand, and what came of it so far."""

    program: Program
    contact: str
    state: ContactState
    at: int
    """The event's own time, or the timer's due time."""
    clock: int
    type: str = ""
    campaign: str | None = None
    message: str | None = None
    event: Event | Held | None = None
    """What a record names as its cause; None for a timer."""
    timer: TimerRef | None = None
    moves: list[Transition] = []
    counts: list[Count] = []
    refused: tuple[str, ...] = ()
    retimed: bool = False
    """Some timer may have changed, so the contact's first one must be looked up anew."""


def step_event(program: Program, state: ContactState | None, event: Event, at: int, clock: int) -> Step:
    """Apply one event. Never raises on any event that ``Event`` can hold.

    ``state`` None: nothing is known of the contact. ``at``: the event's time in micros, clamped to the broker timestamp.
    ``clock``: the partition's clock, this event included; timers that it has passed must have fired before.
    """
    if event.test:
        return Step(state, (), (), Outcome.TEST)
    key = digest(event.id)
    if state is None:
        if event.type == "email.unknown" and event.contact.startswith("none:"):
            return Step(None, (), (), Outcome.APPLIED)  # stands for nobody (providers.md 5.6)
        new = ContactState()
    elif state.erased:
        return Step(state, (), (), Outcome.SUPPRESSED)
    elif (key in state.seen and _seen(state.seen, key)) or (key in state.seen_before and _seen(state.seen_before, key)):
        return Step(state, (), (), Outcome.DUPLICATE)
    else:
        new = copy_state(state)
    if event.type == "contact.erased":
        journeys = tuple(sorted(name for name, run in new.runs.items() if run.number))
        marker = ContactState(erased=clock, due=clock + ERASED_FOR)
        return Step(marker, (), (), Outcome.APPLIED, erased=journeys)
    _remember(new, key, clock)
    campaign, message = sends.named(event)
    scene = _Scene(program, event.contact, new, at, clock, event.type, campaign, message, event)
    _apply(scene, event)
    if scene.retimed:
        new.due = _first_due(new)
    if len(scene.moves) > 1:
        scene.moves.sort(key=lambda move: move.journey)
    outcome = _LATE if at < clock - program.lateness else _APPLIED
    return Step(new, tuple(scene.moves), tuple(scene.counts), outcome, scene.refused)


def step_tick(program: Program, contact: str, state: ContactState) -> Step:
    """Fire the contact's first timer, in (due, journey, timer kind, rule path) order; it has one (``next_due``)."""
    if state.erased:
        return Step(None, (), (), None)
    new = copy_state(state)
    first = min(_pending(program, new), default=None)
    if first is None or first.due > state.due:
        _drop_stale(new)
        new.due = _first_due(new)
        return Step(new, (), (), None)
    scene = _Scene(program, contact, new, first.due, first.due)
    if first.kind == "hold":
        _release(scene, first.lens, first.key, first.journey)
    else:
        _fire(scene, program.by_name[first.journey], first.due, first.key)
    new.due = _first_due(new)
    return Step(new, tuple(scene.moves), tuple(scene.counts), None)


def memberships(program: Program, contact: str, step: Step) -> tuple[Membership, ...]:
    """Where the contact is now in each journey that it moved in, one for each."""
    if not step.moves or step.state is None:
        return ()
    found = []
    for name in dict.fromkeys(move.journey for move in step.moves):
        run = step.state.runs[name]
        found.append(
            Membership(
                journey=name,
                contact=contact,
                run=_run_id(contact, name, run),
                stage=run.place,
                since=rfc3339(run.since),
                best=run.best or None,
                status="active" if run.status == ACTIVE else "exited",
                goal=run.goal,
                version=program.versions[name],
                flags=("stalled",) if run.stalled else (),
            )
        )
    return tuple(found)


# Events


def _apply(scene: _Scene, event: Event) -> None:
    """Record the facts of the event, then let each journey that it touches act."""
    program, state, type_, at = scene.program, scene.state, scene.type, scene.at
    route = program.routes.get(type_, program.custom)
    if route.kind == "email":
        sends.record(state, event, scene.campaign, scene.message, at, scene.counts)
        if type_ == "email.unsubscribed":
            if register.withdraw(state, event, at):
                sends.record_withdrawal(state, event, scene.campaign, scene.message, at, scene.counts)
        elif type_ in SUBSCRIPTIONS:
            register.give_back(state, event, at)
    elif type_ == "contact.subscribed":
        register.give_back(state, event, at)
    elif route.kind == "contact":
        _consent(scene, event)
    if event.machine is True and not route.always_acts:
        return
    if not route.engaging:
        touched = _touched(program, route, event, at, state, ())
        links: Sequence[int] = ()
    else:
        if route.kind == "email" and not sends.is_human(event):
            return
        variant = event.variant is not UNSET and route.kind == "email" and type_ != "email.replied"
        click = type_ == "email.clicked"
        links = program.links_of(event.url) if click and event.url else ()
        touched = {} if variant else _touched(program, route, event, at, state, links)
        if program.by_purpose and not variant:
            scene.refused = _refuse(scene, touched)
        if click:
            touched = _click(scene, event, links, touched, not variant)
    for index in sorted(touched) if len(touched) > 1 else touched:
        journey = program.journeys[index]
        calm = bool(links) and not journey.disengaged.isdisjoint(links)
        _act(scene, journey, touched[index], calm, at < scene.clock - journey.definition.lateness)


def _touched(
    program: Program, route: Route, event: Event, at: int, state: ContactState, links: Sequence[int]
) -> dict[int, Touches]:
    """By journey, the leaves that the event matches; a journey that only watches has none."""
    touched: dict[int, Touches] = {}
    if route.idle:
        return touched
    for index in route.watchers:
        touched[index] = []
    if route.plain:
        _match(route.plain, event, at, state, touched)
    campaign = event.campaign
    if campaign is not None:
        if route.by_campaign and (entries := route.by_campaign.get(campaign)):
            _match(entries, event, at, state, touched)
        if route.by_glob:
            for glob in program.globs_of(campaign):
                _match(route.by_glob.get(glob, ()), event, at, state, touched)
    if links and route.by_link:
        _match_links(route, event, at, state, links, touched)
    if route.calm_free:
        if links:
            entries = [e for e in route.calm_free if program.journeys[e.journey].disengaged.isdisjoint(links)]
            _match(entries, event, at, state, touched)
        else:
            _match(route.calm_free, event, at, state, touched)
    return touched


def _match(
    entries: Iterable[Entry], event: Event, at: int, state: ContactState, touched: dict[int, Touches]
) -> None:
    for entry in entries:
        if entry.match is None or entry.match(event, at, state):
            leaf, bits = entry.leaf, entry.bits
            found = touched.setdefault(entry.journey, [])
            if leaf.kind == "missed":  # an event may be its first and its then, and each in several ways
                bits |= sum(known for other, known in found if other is leaf)
                found[:] = [pair for pair in found if pair[0] is not leaf]
            found.append((leaf, bits))


def _match_links(
    route: Route, event: Event, at: int, state: ContactState, links: Sequence[int], touched: dict[int, Touches]
) -> None:
    """A click under two links of one condition is one match of it."""
    found: dict[tuple[int, int], Entry] = {}
    for link in links:
        for entry in route.by_link.get(link, ()):
            found.setdefault((id(entry.leaf), entry.bits), entry)
    _match(found.values(), event, at, state, touched)


def _refuse(scene: _Scene, touched: dict[int, Touches]) -> tuple[str, ...]:
    """Take out the journeys that may not see engagement of this time for lack of consent; returns their names."""
    program = scene.program
    refused = []
    for indexes in program.by_purpose.values():
        for index in indexes:
            journey = program.journeys[index]
            if not _consented(scene.state, journey, scene.at):
                touched.pop(index, None)
                refused.append(journey.name)
    return tuple(sorted(refused))


def _consented(state: ContactState, journey: JourneyProgram | LensProgram, at: int) -> bool:
    consent = journey.consent if isinstance(journey, LensProgram) else journey.definition.consent
    return 0 <= register.consent_since(state, consent) <= at


def _consent(scene: _Scene, event: Event) -> None:
    """Let a word on consent act where it is the newest: timers start, or the run and what was stored end."""
    program, state = scene.program, scene.state
    given = event.type == "contact.consent_given"
    for purpose in register.record_consent(state, event, scene.at):
        if purpose:
            names: Iterable[str] = (purpose,)
        else:
            names = (name for name in program.by_purpose if name not in state.consents)
        for index in (index for name in names for index in program.by_purpose.get(name, ())):
            journey = program.journeys[index]
            known = state.runs.get(journey.name)
            if not given and journey.lens in state.lenses:
                state.lenses = {key: lens for key, lens in state.lenses.items() if key != journey.lens}
                scene.retimed = True
            if known is None:
                continue
            run = _own(known)
            if given:
                _retime_all(scene, journey, run)
            else:
                _forget_engagement(scene, journey, run)
            state.runs = {**state.runs, journey.name: run}


def _forget_engagement(scene: _Scene, journey: JourneyProgram, run: Run) -> None:
    """Consent was withdrawn: end the run, and delete what it would have been needed for."""
    run.active = run.opened = run.clicked = 0
    if run.status == ACTIVE:
        _exit(scene, journey, run, CONSENT_EXIT, "consent", credit=None)
        return
    for key in [key for key in run.facts if (leaf := journey.leaves.get(key)) is None or leaf.engagement]:
        del run.facts[key]
    _retime_all(scene, journey, run)


# Clicks: who made them


def _click(
    scene: _Scene, event: Event, links: Sequence[int], touched: dict[int, Touches], counted: bool
) -> dict[int, Touches]:
    """Judge a click once for each lens, and record it where a person made it; returns the journeys that may act now."""
    program, state, at = scene.program, scene.state, scene.at
    unknown = event.machine is None
    if unknown and counted:
        machines.remember(state, scene.message, event.url, at, program.burst_keep)
    acting: dict[int, Touches] = {}
    for lens in program.lenses:
        if not counted and lens.key != COMMON_LENS:
            continue
        if lens.consent is not None and not _consented(state, lens, at):
            continue
        verdict = machines.judge(state, lens.bots, scene.message, at, scene.clock) if unknown else machines.HUMAN
        if verdict == machines.MACHINE:
            _mark_machine(scene, lens.key)
            continue
        mine = {index: found for index, found in touched.items() if program.journeys[index].lens == lens.key}
        held = state.lenses[lens.key].held if lens.key in state.lenses else ()
        if verdict == machines.HUMAN or len(held) >= HELD_CLICKS:
            _human_click(scene, lens.key, counted)
            acting.update(mine)
            continue
        waiting: dict[str, tuple[int, ...]] = {"": ()}
        for index in sorted(mine):
            journey = program.journeys[index]
            if at < scene.clock - journey.definition.lateness:
                acting[index] = mine[index]
            else:
                calm = not journey.disengaged.isdisjoint(links)
                waiting[journey.name] = (int(calm), *(leaf.key << 2 | bits for leaf, bits in mine[index]))
        url = _without_query(event.url)
        click = Held(
            verdict, at, event.id, scene.campaign, scene.message, url[:URL_LIMIT] if url else None, counted, waiting
        )
        _set_held(scene, lens.key, (*held, click))
    return acting


def _human_click(scene: _Scene, lens: int, counted: bool) -> None:
    """A person clicked: remember it for credit, and count it."""
    state, campaign, message, at = scene.state, scene.campaign, scene.message, scene.at
    if lens == COMMON_LENS:
        sends.record_human_click(state, campaign, message, at, counted, scene.counts)
    if not counted or (campaign is None and message is None):
        return
    known = state.lenses.get(lens) or Lens()
    clicks = (*known.clicks, SendAt(at, campaign, message))
    if len(clicks) > 1:
        # Sorted by time, equal times by arrival. Of what no event within lateness can look back to, the newest stays.
        settled = scene.clock - scene.program.lateness
        ordered = sorted(clicks, key=lambda click: click.at)
        while len(ordered) > CREDIT_CLICKS or (len(ordered) > 1 and ordered[1].at <= settled):
            del ordered[0]
        clicks = tuple(ordered)
    state.lenses = {**state.lenses, lens: Lens(clicks, known.held)}


def _mark_machine(scene: _Scene, lens: int) -> None:
    if lens == COMMON_LENS:
        sends.mark(scene.state, scene.campaign, scene.message, scene.at, MACHINE)


def _set_held(scene: _Scene, lens: int, held: tuple[Held, ...]) -> None:
    state = scene.state
    known = state.lenses.get(lens) or Lens()
    state.lenses = {**state.lenses, lens: Lens(known.clicks, held)}
    scene.retimed = True


def _release(scene: _Scene, lens_key: int, place: int, name: str) -> None:
    """A held click is due: give the verdict, then let it act with its own time, one journey in a step."""
    state, program = scene.state, scene.program
    lens = state.lenses[lens_key]
    click = lens.held[place]
    scene.at = click.at
    scene.type = HELD_TYPE
    scene.campaign, scene.message = click.campaign, click.message
    waiting = {journey: bits for journey, bits in click.waiting.items() if journey != name}
    if name == "":
        known = next((lens for lens in program.lenses if lens.key == lens_key), None)
        if known is None or known.bots is None or machines.in_burst(state, known.bots, click.message, click.at):
            _mark_machine(scene, lens_key)
            waiting = {}
        else:
            _human_click(scene, lens_key, click.counted)
            lens = state.lenses.get(lens_key, lens)
    left = Held(click.due, click.at, click.id, click.campaign, click.message, click.url, click.counted, waiting)
    before, after = lens.held[:place], lens.held[place + 1 :]
    _set_held(scene, lens_key, (*before, left, *after) if waiting else (*before, *after))
    journey = program.by_name.get(name)
    if journey is None:
        return
    scene.event = click
    calm, *matched = click.waiting[name]
    touches = [(leaf, code & 3) for code in matched if (leaf := journey.leaves.get(code >> 2)) is not None]
    _act(scene, journey, touches, bool(calm), late=False)


# One journey


def _act(scene: _Scene, journey: JourneyProgram, touches: Touches, calm: bool, late: bool) -> None:
    """Record in one journey what the event is to it, then move the contact if a rule of its own holds."""
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
    counting = [
        (leaf, bits)
        for leaf, bits in touches
        if leaf.reach > best and (active or leaf.staged if leaf.back is None else setback in leaf.back)
    ]
    watching = journey.watches and _is_activity(scene.type, calm)
    if not counting and not watching:
        return
    run = Run() if known is None else _own(known)
    since = register.consent_since(state, journey.definition.consent) if journey.definition.consent is not None else 0
    hit = Hit(scene.at, 0, scene.clock - journey.definition.lateness, since)
    if watching:
        _watch(scene, journey, run)
        _retime(scene, run, journey.activity_timers if active else journey.staged_timers, since)
        if setback >= 0:
            _retime(scene, run, journey.back_timers[setback], since)
    own: list[Leaf] = []
    for leaf, bits in counting:
        if leaf.grouped and not _group(scene, hit):
            continue
        leaf.count(run, hit, bits)
        if leaf.kind:
            _retime(scene, run, (leaf,), since)
        else:
            own.append(leaf)
    if own and not any(move.journey == journey.name for move in scene.moves):
        _decide(scene, journey, run, own, touches, hit, late)
    if known is not None or watching or run.facts or run.status:
        state.runs = {**state.runs, journey.name: run}


def _is_activity(type_: str, calm: bool) -> bool:
    """Whether ``quiet`` or ``no_click`` may count from such an event."""
    if type_ == "email.clicked":
        return not calm
    return type_ == "email.opened" or type_ in SUBSCRIPTIONS or is_custom(type_)


def _watch(scene: _Scene, journey: JourneyProgram, run: Run) -> None:
    """Keep the newest times that ``quiet`` and ``no_click`` count from."""
    at = scene.at
    if scene.type == "email.opened":
        run.opened = max(run.opened, at)
        return
    run.active = max(run.active, at)
    if scene.type == "email.clicked" and journey.no_clicks and at >= run.clicked and at >= run.recovered:
        run.clicked = at
        for leaf in journey.no_clicks:
            leaf.restart(run, at)


def _decide(
    scene: _Scene, journey: JourneyProgram, run: Run, own: list[Leaf], touches: Touches, hit: Hit, late: bool
) -> None:
    """The law of moves, for the rules that own one of the touched leaves."""
    if run.status != ACTIVE:
        if not late:
            _try_enter(scene, journey, run, own, touches, hit)
        return
    facts, at, words = run.facts, scene.at, scene.state.register
    for place in _places([leaf.exits for leaf in own]):
        exit_ = journey.exits[place]
        if (not late or scene.type in LATE_EXITS) and exit_.holds(facts, at, words):
            _exit(scene, journey, run, exit_.name, exit_.path, credit=_credit(scene, journey))
            return
    if late:
        return
    present = journey.setback_rank.get(run.place, -1)
    for place in reversed(_places([leaf.setbacks for leaf in own])):
        setback = journey.setbacks[place]
        if place > present and run.stage in setback.sources and setback.holds(facts, at, words):
            _set_back(scene, journey, run, setback.name, setback.path)
            return
    if present >= 0:
        setback = journey.setbacks[present]
        if setback.until is None:
            return
        if any(leaf.until and leaf.back is not None for leaf in own) and setback.until(facts, at, words):
            _recover(scene, journey, run, setback.until_path)
            return
    best = journey.rank.get(run.best, -1)
    for place in reversed(_places([leaf.stages for leaf in own])):
        if place <= best:
            return
        stage = journey.stages[place]
        if stage.holds(facts, at, words):
            _to_stage(scene, journey, run, "advance", place, stage.path)
            return


def _try_enter(
    scene: _Scene, journey: JourneyProgram, run: Run, own: list[Leaf], touches: Touches, hit: Hit
) -> None:
    """Begin a run at the highest stage that holds; its counts restart, the entering event is the first counted."""
    if run.status == EXITED and not _may_return(journey, run, scene.at):
        return
    for place in reversed(_places([leaf.stages for leaf in own])):
        if journey.definition.enter == "first" and place > 0:
            continue
        stage = journey.stages[place]
        if not stage.holds(run.facts, scene.at, scene.state.register):
            continue
        kind = "reenter" if run.number else "enter"
        run.status, run.number, run.move = ACTIVE, run.number + 1, 0
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


# Timers


def _fire(scene: _Scene, journey: JourneyProgram, due: int, key: int) -> None:
    """One timer of one journey fires at ``due``."""
    state = scene.state
    run = _own(state.runs[journey.name])
    del run.timers[key]
    state.runs = {**state.runs, journey.name: run}
    if key == journey.stall_key:
        scene.timer = TimerRef("stall", rfc3339(due))
        _stall(scene, journey, run)
        return
    leaf = journey.leaves[key]
    scene.timer = TimerRef(leaf.kind, rfc3339(due))
    leaf.fire(run, due)
    own = [leaf]
    setback = journey.setback_rank.get(run.place, -1) if run.status == ACTIVE else -1
    if leaf.back is None or setback in leaf.back:
        hit = Hit(due, 0, due, register.consent_since(state, journey.definition.consent))
        _decide(scene, journey, run, own, [], hit, late=False)


class _Pending(NamedTuple):
    """One timer as it sorts among those of a contact; ``key`` is the leaf's, or the place of a held click in its lens."""

    due: int
    journey: str
    kind: str
    path: str
    order: int
    key: int
    lens: int


def _pending(program: Program, state: ContactState) -> Iterable[_Pending]:
    for name, run in state.runs.items():
        journey = program.by_name.get(name)
        if journey is None:
            continue
        for key, due in run.timers.items():
            if key == journey.stall_key:
                if run.place in journey.rank:
                    path = journey.stages[journey.rank[run.place]].path
                    yield _Pending(due, name, "stall", path, -1, key, COMMON_LENS)
            elif (leaf := journey.leaves.get(key)) is not None:
                yield _Pending(due, name, leaf.kind, leaf.path, leaf.order, key, COMMON_LENS)
    for lens_key, lens in state.lenses.items():
        for place, click in enumerate(lens.held):
            yield _Pending(click.due, min(click.waiting), "hold", "", place, place, lens_key)


def _drop_stale(state: ContactState) -> None:
    """Timers due now that no rule answers to any more (a definition changed) go without a trace."""
    runs = dict(state.runs)
    for name, run in state.runs.items():
        stale = [key for key, due in run.timers.items() if due <= state.due]
        if stale:
            runs[name] = _own(run)
            for key in stale:
                del runs[name].timers[key]
    state.runs = runs


def _retime(scene: _Scene, run: Run, leaves: Iterable[Leaf], since: int) -> None:
    """Work out anew when these leaves are due, from the facts."""
    scene.retimed = True
    for leaf in leaves:
        due = leaf.retime(run, since)
        if due:
            run.timers[leaf.key] = due
        else:
            run.timers.pop(leaf.key, None)


def _retime_all(scene: _Scene, journey: JourneyProgram, run: Run) -> None:
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


def _first_due(state: ContactState) -> int:
    first = 0
    for run in state.runs.values():
        if run.timers:
            due = min(run.timers.values())
            if not first or due < first:
                first = due
    for lens in state.lenses.values():
        for click in lens.held:
            if not first or click.due < first:
                first = click.due
    return first


# Moves and their records


def _to_stage(scene: _Scene, journey: JourneyProgram, run: Run, kind: str, place: int, rule: str) -> None:
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
    _retime_all(scene, journey, run)


def _recover(scene: _Scene, journey: JourneyProgram, run: Run, rule: str) -> None:
    """Out of a setback: to the better of the best stage and the highest that holds, whose own event this need not be."""
    place = journey.rank.get(run.best, 0)
    for higher in range(len(journey.stages) - 1, place, -1):
        if journey.stages[higher].holds(run.facts, scene.at, scene.state.register):
            place = higher
            break
    _to_stage(scene, journey, run, "recover", place, rule)


def _set_back(scene: _Scene, journey: JourneyProgram, run: Run, name: str, rule: str) -> None:
    at = max(scene.at, run.last)
    source, dwell = run.place, at - run.since
    run.place = name
    _settle(journey, run, at)
    _write(scene, journey, run, "setback", source, name, rule, at, dwell, False, _credit(scene, journey))
    _retime_all(scene, journey, run)


def _exit(
    scene: _Scene, journey: JourneyProgram, run: Run, name: str, rule: str, credit: Credit | None
) -> None:
    """End the run. What it counted is gone; the times of activity stay, a later run may count from them."""
    at = max(scene.at, run.last)
    source, dwell = run.place, at - run.since
    run.status, run.place, run.stage = EXITED, name, ""
    run.since, run.stalled = at, False
    run.facts, run.timers = {}, {}
    scene.retimed = True
    _write(scene, journey, run, "exit", source, name, rule, at, dwell, False, credit)


def _stall(scene: _Scene, journey: JourneyProgram, run: Run) -> None:
    """Report a stay that is too long. It bounds later records, but the stay goes on from the last real move."""
    at = max(scene.at, run.last)
    run.stalled = True
    rule = journey.stages[journey.rank[run.place]].path
    credit = _credit(scene, journey)
    _write(scene, journey, run, "stall", run.place, run.place, rule, at, at - run.since, False, credit)


def _settle(journey: JourneyProgram, run: Run, at: int) -> None:
    """A new stay begins; what counted towards the end of a setback counts from now."""
    run.since, run.stalled = at, False
    for key in [key for key in run.facts if key in journey.back_keys]:
        del run.facts[key]


def _write(
    scene: _Scene,
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
    """Make the record of a move. ``late``: its event is older than the previous record of the contact in this journey."""
    late = scene.event is not None and scene.at < run.last
    run.move += 1
    run.last = at
    last = scene.state.last_send
    run_id = _run_id(scene.contact, journey.name, run)
    scene.moves.append(
        Transition(
            id=transition_id(journey.name, scene.contact, run_id, run.move),
            journey=journey.name,
            version=journey.version,
            contact=scene.contact,
            run=run_id,
            from_=source,
            to=to,
            kind=kind,
            at=rfc3339(at),
            rule=rule,
            cause=_cause(scene),
            timer=scene.timer,
            credit=credit,
            last_send=SendRef(last.campaign, last.message, rfc3339(last.at)) if last is not None else None,
            goal=goal,
            move=run.move,
            dwell_s=seconds(dwell) if dwell is not None else None,
            best=run.best or None,
            late=late,
        )
    )


def _credit(scene: _Scene, journey: JourneyProgram) -> Credit | None:
    """The send that earned a record: that of its own e-mail event, else of the last human click before, in the window."""
    at = scene.at
    if scene.type.startswith("email.") and (scene.campaign is not None or scene.message is not None):
        return Credit(scene.campaign, scene.message, rfc3339(at), "direct")
    lens = scene.state.lenses.get(journey.lens)
    if lens is None:
        return None
    for click in reversed(lens.clicks):
        if click.at <= at:
            if at - click.at > journey.definition.attribution:
                return None
            return Credit(click.campaign, click.message, rfc3339(click.at), "last_click")
    return None


# Small things


def _seen(keys: bytes, key: bytes) -> bool:
    """Whether an event key is among remembered ones, which lie side by side."""
    place = keys.find(key)
    while place >= 0:
        if place % 8 == 0:
            return True
        place = keys.find(key, place + 1)
    return False


def _remember(state: ContactState, key: bytes, clock: int) -> None:
    """Add an event key; a generation that is old or full is closed, and the one before it forgotten."""
    if not state.seen:
        state.seen_since = clock
    elif clock - state.seen_since > SEEN_SPAN or len(state.seen) >= SEEN_KEYS * 8:
        state.seen_before, state.seen, state.seen_since = state.seen, b"", clock
    state.seen += key


def _cause(scene: _Scene) -> Cause | None:
    event = scene.event
    if event is None:
        return None
    machine = event.machine if isinstance(event, Event) else None
    return Cause(event.id, scene.type, scene.campaign, scene.message, _without_query(event.url), machine)


def _without_query(url: str | None) -> str | None:
    """A URL as it may leave the worker: queries carry tokens of people (experience.md 6)."""
    return url.partition("?")[0] if url else url


def _group(scene: _Scene, hit: Hit) -> int:
    """What ``per: campaign`` and ``no_click`` count once, as a number; 0 for neither campaign nor message."""
    if not hit.group:
        if scene.campaign is not None:
            hit.group = number(f"campaign {scene.campaign}")
        elif scene.message is not None:
            hit.group = number(f"message {scene.message}")
    return hit.group


def _places(places: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Rules of several leaves, once each, in list order."""
    return places[0] if len(places) == 1 else tuple(sorted({place for of_leaf in places for place in of_leaf}))


def _own(run: Run) -> Run:
    """A copy whose facts and timers may be changed."""
    own = copy_run(run)
    own.facts = run.facts.copy()
    own.timers = run.timers.copy()
    return own


def _run_id(contact: str, journey: str, run: Run) -> str:
    return f"{contact}/{journey}/{run.number}"
