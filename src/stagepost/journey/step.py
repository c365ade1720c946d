"""The one step of a contact: (state, event | timer) -> (state, records, counts).

Reads what an event or timer is to a contact, records its facts, and lets each journey that it touches act
(``moves.py``). Cost goes by what the event can touch, see ``compile.Route``.
May not contain: conditions, a clock, storage keys, provider names.

A step never changes the state it is given: it fills a copy, and copies each part before it changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import UNSET

from stagepost.events import (
    CONTACT_TYPES,
    DAY,
    Event,
    Membership,
    TimerRef,
    Transition,
    rfc3339,
)
from stagepost.journey import machines, register, sends
from stagepost.journey.compile import (
    COMMON_LENS,
    SUBSCRIPTIONS,
    Interest,
    JourneyProgram,
    LensProgram,
    Program,
    Route,
    program_of,
)
from stagepost.journey.conditions import Hit, Leaf
from stagepost.journey.moves import (
    Scene,
    Touches,
    act,
    decide,
    exit_run,
    own,
    retime_all,
    run_id,
    stall,
    without_query,
)
from stagepost.journey.result import Count, Outcome, Step
from stagepost.journey.state import (
    ACTIVE,
    CREDIT_CLICKS,
    ERASED_FOR,
    HELD_CLICKS,
    MACHINE,
    SEEN_KEYS,
    SEEN_SPAN,
    ContactState,
    Held,
    Lens,
    Run,
    SendAt,
    copy_state,
    digest,
    first_due,
    next_due,
    send_key,
)

__all__ = ["memberships", "next_due", "step_event", "step_tick"]


_APPLIED, _LATE = Outcome.APPLIED, Outcome.LATE
CONSENT_EXIT = "consent_withdrawn"
HELD_TYPE = "email.clicked"
LATE_CREDIT = 7 * DAY
"""How far beyond lateness an event still finds the click before it."""
EARNED = (1,)
"""``Held.waiting[""]`` of a click that counts already for credit and metrics, because it is late for some journey."""
NO_LINKS: tuple[int, ...] = ()
URL_LIMIT = 1024
"""Characters of a held click's URL, which is kept for its record only."""


def step_event(program: Program, state: ContactState | None, event: Event, at: int, clock: int) -> Step:
    """Apply one event. Never raises on any event that the wire can hold (JSON has no half characters).

    ``state`` None: nothing is known of the contact. ``at``: the event's time, micros, clamped to the broker timestamp.
    ``clock``: the partition's clock, this event included; timers that it has passed must have fired before.
    """
    if event.test:
        return Step(state, (), (), Outcome.TEST)
    key, type_ = digest(event.id), event.type
    if state is None:
        if type_ == "email.unknown" and event.contact.startswith("none:"):
            return Step(None, (), (), Outcome.APPLIED)  # stands for nobody (providers.md 5.6)
        new = ContactState()
    elif state.erased:
        return Step(state, (), (), Outcome.SUPPRESSED)
    elif (state.seen.find(key) >= 0 and _seen(state.seen, key)) or (
        # ``in`` would take 0.6 us each: for bytes it first asks whether the key is a number.
        state.seen_before.find(key) >= 0 and _seen(state.seen_before, key)
    ):
        return Step(state, (), (), Outcome.DUPLICATE)
    else:
        new = copy_state(state)
    if type_ == "contact.erased":
        journeys = tuple(sorted(name for name, run in new.runs.items() if run.number))
        marker = ContactState(erased=clock, due=clock + ERASED_FOR)
        return Step(marker, (), (), Outcome.APPLIED, erased=journeys)
    _remember(new, key, clock)
    route = program.routes.get(type_, program.custom)
    send = sends.named(event)
    counts: list[Count] = []
    if route.record is not None:
        route.record(new, event, send, at, counts)
    outcome = _LATE if at < clock - program.lateness else _APPLIED
    if route.facts_only:
        return Step(new, (), tuple(counts), outcome)
    moves: list[Transition] = []
    scene = Scene(program, event.contact, new, at, clock, type_, route.active, send, event, None, moves, counts)
    if route.always_acts:
        _record_word(scene, event)
    if route.engaging:
        _engage(scene, route, event)
    elif route.always_acts or event.machine is not True:
        _act(scene, route, event)
    if scene.retimed:
        new.due = first_due(new)
    if len(moves) > 1:
        moves.sort(key=lambda move: move.journey)
    return Step(new, tuple(moves), tuple(counts), outcome, scene.refused)


def step_tick(program: Program, contact: str, state: ContactState) -> Step:
    """Fire the contact's first timer, in (due, journey, timer kind, rule path) order; it has one (``next_due``)."""
    if state.erased:
        return Step(None, (), (), None)
    new = copy_state(state)
    first = min(_pending(program, new), default=None)
    if first is None or first.due > state.due:
        _drop_stale(new)
        new.due = first_due(new)
        return Step(new, (), (), None)
    scene = Scene(program, contact, new, first.due, first.due)
    if first.kind == "hold":
        _release(scene, first.lens, first.key, "" if first.common else first.journey)
    else:
        _fire(scene, first.journey, first.due, first.key)
    new.due = first_due(new)
    return Step(new, tuple(scene.moves), tuple(scene.counts), None)


def memberships(contact: str, step: Step) -> tuple[Membership, ...]:
    """Where the contact is now in each journey that it moved in, one for each."""
    if not step.moves or step.state is None:
        return ()
    found = []
    for name, version in {move.journey: move.version for move in step.moves}.items():
        run = step.state.runs[name]
        found.append(
            Membership(
                journey=name,
                contact=contact,
                run=run_id(contact, name, run),
                stage=run.place,
                since=rfc3339(run.since),
                best=run.best or None,
                status="active" if run.status == ACTIVE else "exited",
                goal=run.goal,
                version=version,
                flags=("stalled",) if run.stalled else (),
            )
        )
    return tuple(found)


# Events


def _record_word(scene: Scene, event: Event) -> None:
    """Record what the event says of the contact's will."""
    if scene.type == "email.unsubscribed":
        if register.withdraw(scene.state, event, scene.at):
            sends.record_withdrawal(scene.state, event, scene.send, scene.at, scene.counts)
    elif scene.type in SUBSCRIPTIONS:
        register.give_back(scene.state, event, scene.at)
    elif scene.type in CONTACT_TYPES:
        _consent(scene, event)


def _act(scene: Scene, route: Route, event: Event) -> None:
    """Let each journey act that has to do with the event, in order of their names."""
    if not scene.refused and not scene.program.older:
        campaign = event.campaign if route.named else None
        for interest in route.interests(campaign, NO_LINKS):
            touches = interest.touches if interest.touches is not None else _touches(scene, interest, event)
            if touches or interest.watches:
                act(scene, interest.journey, touches, False)
        return
    for interest in _interests(scene, route, event, NO_LINKS):
        touches = _touches(scene, interest, event)
        if touches or interest.watches:
            act(scene, interest.journey, touches, False)


def _interests(scene: Scene, route: Route, event: Event, links: tuple[int, ...]) -> Sequence[Interest]:
    """What the journeys have to do with the event that may see it."""
    found = route.interests(event.campaign if route.named else None, links)
    if scene.refused or scene.program.older:
        return [interest for interest in found if _is_on(scene, interest.journey)]
    return found


def _touches(scene: Scene, interest: Interest, event: Event) -> Touches:
    """The leaves of one journey that the event matches."""
    if interest.touches is not None:
        return interest.touches
    at, state = scene.at, scene.state
    touches = [entry.touch for entry in interest.entries if entry.match is None or entry.match(event, at, state)]
    if interest.several and len(touches) > 1:
        # A click under two links of one condition is one match; an event may be both first and then of ``missed``.
        known: dict[Leaf, int] = {}
        for leaf, bits in dict.fromkeys(touches):
            known[leaf] = known.pop(leaf, 0) | bits
        return list(known.items())
    return touches


def _engage(scene: Scene, route: Route, event: Event) -> None:
    """Opens, clicks, replies and custom activities: they take a person, and in some journeys consent."""
    program = scene.program
    email = route.kind == "email"
    if event.machine is True or (email and not sends.is_human(event)):
        return
    counted = not email or event.variant is UNSET
    if counted and program.by_purpose:
        scene.refused = _refused(scene)
    if scene.type == "email.clicked":
        _click(scene, route, event, counted)
    elif counted:
        _act(scene, route, event)


def _is_on(scene: Scene, journey: JourneyProgram) -> bool:
    """Whether it is the version that the contact's run is on, and may see what happens."""
    if journey.name in scene.refused:
        return False
    return program_of(scene.program, journey.name, scene.state.runs.get(journey.name)) is journey


def _refused(scene: Scene) -> tuple[str, ...]:
    """Names of the journeys that may not see engagement of this time for lack of consent."""
    journeys = [scene.program.journeys[index] for indexes in scene.program.by_purpose.values() for index in indexes]
    refused = (j.name for j in journeys if _is_on(scene, j) and not _consented(scene.state, j, scene.at))
    return tuple(sorted(refused))


def _consented(state: ContactState, journey: JourneyProgram | LensProgram, at: int) -> bool:
    consent = journey.consent if isinstance(journey, LensProgram) else journey.definition.consent
    return 0 <= register.consent_since(state, consent) <= at


def _consent(scene: Scene, event: Event) -> None:
    """Let a word on consent act where it is the newest: timers start, or the run and what was stored end."""
    program, state = scene.program, scene.state
    given = event.type == "contact.consent_given"
    asking = [program.journeys[index] for indexes in program.by_purpose.values() for index in indexes]
    before = {
        journey.name: register.consent_since(state, journey.definition.consent)
        for journey in asking
        if _is_on(scene, journey)
    }
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
            if known is None or not _is_on(scene, journey):
                continue
            run = own(known)
            if given:
                retime_all(scene, journey, run)
            else:
                _forget_engagement(scene, journey, run)
            state.runs = {**state.runs, journey.name: run}
            before.pop(journey.name, None)
    for journey in asking:  # an older word does not decide, but may move the time from which timers count
        since = register.consent_since(state, journey.definition.consent)
        if before.get(journey.name, since) == since or not _is_on(scene, journey):
            continue
        if (known := state.runs.get(journey.name)) is not None:
            run = own(known)
            retime_all(scene, journey, run)
            state.runs = {**state.runs, journey.name: run}


def _forget_engagement(scene: Scene, journey: JourneyProgram, run: Run) -> None:
    """Consent was withdrawn: end the run, and delete what it would have been needed for."""
    run.active = run.opened = run.clicked = 0
    if run.status == ACTIVE:
        exit_run(scene, journey, run, CONSENT_EXIT, "consent", credit=None)
        return
    for key in [key for key in run.facts if (leaf := journey.leaves.get(key)) is None or leaf.engagement]:
        del run.facts[key]
    retime_all(scene, journey, run)


# Clicks: who made them


def _click(scene: Scene, route: Route, event: Event, counted: bool) -> None:
    """Judge a click once for each lens, and record it where a person made it; journeys act on it now or later."""
    program, state, at = scene.program, scene.state, scene.at
    unknown = event.machine is None
    late = at < scene.clock - program.lateness  # for every journey: judged, and never held
    links: tuple[int, ...] = ()
    touched: list[tuple[JourneyProgram, Touches]] = []
    if counted:
        if unknown:
            machines.remember(state, scene.send, event.url, at, program.burst_keep)
        links = program.links_of(event.url) if event.url else ()
        for interest in _interests(scene, route, event, links):
            touches = _touches(scene, interest, event)
            if touches or interest.watches:
                touched.append((interest.journey, touches))
    acting: list[tuple[JourneyProgram, Touches]] = []
    for lens in program.lenses:
        if not counted and lens.key != COMMON_LENS:
            continue
        if lens.consent is not None and not _consented(state, lens, at):
            continue
        verdict = machines.judge(state, lens.bots, scene.send, at) if unknown else machines.HUMAN
        if verdict == machines.MACHINE:
            _mark_machine(scene, lens.key)
            continue
        mine = [pair for pair in touched if pair[0].lens == lens.key]
        held = state.lenses[lens.key].held if lens.key in state.lenses else ()
        if verdict == machines.HUMAN or late or len(held) >= HELD_CLICKS:
            _human_click(scene, lens.key, counted)
            acting += mine
            continue
        waiting: dict[str, tuple[int, ...]] = {"": ()}
        for journey, touches in mine:
            if at < scene.clock - journey.definition.lateness:
                # Late there, hence judged and never held; what it earns is known from now on.
                if waiting[""] != EARNED:
                    _human_click(scene, lens.key, counted)
                    waiting[""] = EARNED
                acting.append((journey, touches))
            else:
                calm = _is_calm(journey, links)
                waiting[journey.name] = (int(calm), *(leaf.key << 2 | bits for leaf, bits in touches))
        url = without_query(event.url)
        campaign, message = scene.send.campaign, scene.send.message
        click = Held(verdict, at, event.id, campaign, message, url[:URL_LIMIT] if url else None, counted, waiting)
        _set_held(scene, lens.key, (*held, click))
    if len(program.lenses) > 1:
        acting.sort(key=lambda pair: pair[0].index)
    for journey, touches in acting:
        act(scene, journey, touches, _is_calm(journey, links))


def _is_calm(journey: JourneyProgram, links: tuple[int, ...]) -> bool:
    """Whether a click under these links means disengagement."""
    return bool(links) and not journey.disengaged.isdisjoint(links)


def _human_click(scene: Scene, lens: int, counted: bool) -> None:
    """A person clicked: remember it for credit, and count it."""
    state, send, at = scene.state, scene.send, scene.at
    if lens == COMMON_LENS:
        sends.record_human_click(state, send, at, counted, scene.counts)
    if not counted or (send.campaign is None and send.message is None):
        return
    known = state.lenses.get(lens) or Lens()
    clicks = (*known.clicks, SendAt(at, send.campaign, send.message))
    if len(clicks) > 1:
        # Sorted by time, equal times by arrival. Of what no event may look back to, the newest stays. Withdrawals and
        # the ``first`` of ``missed`` earn credit beyond lateness too: for as long again as the usual window.
        if at < clicks[-2].at:
            clicks = tuple(sorted(clicks, key=lambda click: click.at))
        settled = scene.clock - scene.program.lateness - LATE_CREDIT
        while len(clicks) > CREDIT_CLICKS or (len(clicks) > 1 and clicks[1].at <= settled):
            clicks = clicks[1:]
    state.lenses = {**state.lenses, lens: Lens(clicks, known.held)}


def _mark_machine(scene: Scene, lens: int) -> None:
    if lens == COMMON_LENS:
        sends.mark(scene.state, scene.send, scene.at, MACHINE)


def _set_held(scene: Scene, lens: int, held: tuple[Held, ...]) -> None:
    state = scene.state
    known = state.lenses.get(lens) or Lens()
    state.lenses = {**state.lenses, lens: Lens(known.clicks, held)}
    scene.retimed = True


def _release(scene: Scene, lens_key: int, place: int, name: str) -> None:
    """A held click is due: give the verdict, then let it act with its own time, one journey in a step."""
    state, program = scene.state, scene.program
    lens = state.lenses[lens_key]
    click = lens.held[place]
    scene.at = click.at
    scene.type, scene.active = HELD_TYPE, True
    scene.send = sends.Named(send_key(click.campaign, click.message), click.campaign, click.message)
    waiting = {journey: bits for journey, bits in click.waiting.items() if journey != name}
    if name == "":
        known = next((lens for lens in program.lenses if lens.key == lens_key), None)
        if known is None or known.bots is None or machines.in_burst(state, known.bots, scene.send, click.at):
            _mark_machine(scene, lens_key)
            waiting = {}
        elif click.waiting[""] != EARNED:
            _human_click(scene, lens_key, click.counted)
            lens = state.lenses.get(lens_key, lens)
    left = Held(click.due, click.at, click.id, click.campaign, click.message, click.url, click.counted, waiting)
    before, after = lens.held[:place], lens.held[place + 1 :]
    _set_held(scene, lens_key, (*before, left, *after) if waiting else (*before, *after))
    journey = program_of(program, name, state.runs.get(name))
    if journey is None:
        return
    scene.event = click
    calm = click.waiting[name][0]
    act(scene, journey, touches_of(click, journey), bool(calm))


def touches_of(click: Held, journey: JourneyProgram) -> Touches:
    """The leaves of a journey that a held click matched when it came; empty where it does not wait to act."""
    matched = click.waiting.get(journey.name, ())[1:]
    return [(leaf, code & 3) for code in matched if (leaf := journey.leaves.get(code >> 2)) is not None]


# Timers


def _fire(scene: Scene, name: str, due: int, key: int) -> None:
    """One timer of one journey fires at ``due``."""
    state = scene.state
    run = own(state.runs[name])
    journey = program_of(scene.program, name, run)
    assert journey is not None, "timers of a journey that is gone are not pending"
    del run.timers[key]
    state.runs = {**state.runs, journey.name: run}
    if key == journey.stall_key:
        scene.timer = TimerRef("stall", rfc3339(due))
        stall(scene, journey, run)
        return
    leaf = journey.leaves[key]
    scene.timer = TimerRef(leaf.kind, rfc3339(due))
    leaf.fire(run, due)
    setback = journey.setback_rank.get(run.place, -1) if run.status == ACTIVE else -1
    if leaf.back is None or setback in leaf.back:
        hit = Hit(due, 0, due, register.consent_since(state, journey.definition.consent))
        decide(scene, journey, run, [leaf], [], hit, late=False)


class _Pending(NamedTuple):
    """One timer as it sorts among a contact's; ``key``: of its leaf, or the place of a held click in its lens."""

    due: int
    journey: str
    kind: str
    path: str
    order: int
    key: int
    lens: int
    common: bool = False
    """Of a held click: what is common to all journeys is yet to be done."""


def _pending(program: Program, state: ContactState) -> Iterable[_Pending]:
    for name, run in state.runs.items():
        journey = program_of(program, name, run)
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
            # What is common to all journeys comes with the first that waits: after that one's timer of kind ``after``.
            common = "" in click.waiting
            of_lens = (journey.name for journey in program.journeys if journey.lens == lens_key)
            first = min((waiting for waiting in click.waiting if waiting), default="") or next(of_lens, "")
            yield _Pending(click.due, first, "hold", "", place, place, lens_key, common)


def _drop_stale(state: ContactState) -> None:
    """Timers due now that no rule answers to any more (their journey is gone) go without a trace."""
    runs = dict(state.runs)
    for name, run in state.runs.items():
        stale = [key for key, due in run.timers.items() if due <= state.due]
        if stale:
            runs[name] = own(run)
            for key in stale:
                del runs[name].timers[key]
    state.runs = runs


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
