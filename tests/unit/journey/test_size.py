"""The bound of a contact's state: never exceeded, part by part, and not so wide that it says nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.properties.test_journey_laws import TYPES, journeys
from tests.scenarios.story import START, Partition

from stagepost.events import DAY, HOUR, MICROS, MINUTE, Event
from stagepost.journey import conditions as c
from stagepost.journey.compile import compile_program
from stagepost.journey.conditions import Hit, Leaf
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.size import bound, fact_bytes
from stagepost.journey.state import ACTIVE, ContactState, Run, pack
from stagepost.journey.step import step_event

EVERYTHING = """
journey: everything
links: {pricing: example.com/pricing, blog: example.com/blog/**}
stages:
  - one: {clicked: any, times: 3}
  - two: {clicked: blog, times: 30, within: 90d, per: campaign}
  - three: {clicked: any, times: 50, within: 90d}
  - four: {event: page.seen, times: 100, per: campaign}
setbacks:
  - a: {no_click: {sends: 20, grace: 48h}}
  - b: {missed: {first: page.seen, then: {clicked: pricing}, within: 5d}}
  - c: {stuck: 300d}
recover: {clicked: any, times: 9, within: 5d}
exits:
  - out: {after: 3650d}
"""


def size(value: object) -> int:
    return len(msgspec.msgpack.encode(value))


def text(seed: int, most: int) -> str:
    """A text of exactly ``most`` bytes that differs from seed to seed."""
    return (
        f"{seed:x}".ljust(most, "é" if most % 2 == 0 and seed % 2 else "y")[:most]
        .encode()[:most]
        .decode(errors="ignore")
    )


def event(number: int, mix: int, most: int) -> tuple[Event, int]:
    """One of a stream that fills every ring: texts of ``most`` bytes, all of them new."""
    type_ = TYPES[mix % len(TYPES)]
    at = START + number * 7 * MINUTE - (mix % 5) * 90 * MINUTE * (mix % 3 == 0)
    made = Event(
        id=text(number, most),
        type=type_,
        occurred_at="",
        contact="x",
        campaign=text(mix % 997, most),
        message=text(number, most),
        url="https://example.com/blog/" + text(number, max(1, most - 25)),
        machine=[None, False][mix % 2],
        purpose=text(number, most),
        scope="list",
        scope_id=text(number, most),
        data={"n": 2},
    )
    return made, at


def stream(journey: Journey, seed: int, count: int, most: int) -> list[ContactState]:
    """States along a stream; timers fire as they come."""
    partition = Partition(journey)
    state, states, clock = None, [], START
    for number in range(count):
        made, at = event(number, (seed + number * 2654435761) % 2**32, most)
        clock = max(clock, at)
        state = step_event(partition.program, state, made, at, clock).state
        assert state is not None
        states.append(state)
    return states


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(journeys(), st.integers(0, 2**32), st.sampled_from([1, 8, 40, 256]))
def test_no_stream_makes_a_state_larger_than_its_bound_in_any_part(journey: Journey, seed: int, most: int) -> None:
    program = compile_program([journey])
    within, known = bound(program, most), bound(program)
    for state in stream(journey, seed, 300, most):
        assert len(pack(state)) <= within.total <= known.total
        assert size(state.seen) + size(state.seen_before) + size(state.seen_since) <= within.dedup
        assert size(state.sends) + size(state.last_send) <= within.sends
        assert size(state.register) + size(state.subscribed) <= within.register
        assert size(state.consents) <= within.consent
        assert size(state.null_clicks) + size(state.lenses) <= within.clicks
        for name, run in state.runs.items():
            assert size(name) + size(run) <= within.journeys[name]


def everything() -> Journey:
    parsed = parse_journey(EVERYTHING, "j")
    assert parsed.journey is not None
    return parsed.journey


def test_a_stream_that_fills_the_rings_comes_near_the_bound() -> None:
    journey = everything()
    known = bound(compile_program([journey]), 40)
    states = stream(journey, 1, 3000, 40)
    assert known.dedup * 0.95 < max(size(state.seen) + size(state.seen_before) for state in states)
    assert known.sends * 0.9 < max(size(state.sends) + size(state.last_send) for state in states)
    assert known.register * 0.5 < max(size(state.register) for state in states)  # scopes are words of 4 bytes here
    assert known.consent * 0.7 < max(size(state.consents) for state in states)
    assert known.journeys["everything"] * 0.5 < max(size(run) for state in states for run in state.runs.values())


def test_clicks_that_are_held_come_near_the_bound() -> None:
    text_ = EVERYTHING + "bots: {instant: 1s, near: 1h, hold: 50m, burst: {urls: 16, within: 1s}}\n"
    parsed = parse_journey(text_, "j")
    assert parsed.journey is not None
    program = compile_program([parsed.journey])
    sent = Event(id="s", type="email.delivered", occurred_at="", contact="x", campaign="c" * 40, message="m" * 40)
    state = step_event(program, None, sent, START, START).state
    for number in range(40):
        at = START + (2 + 2 * number) * MICROS
        click = Event(
            id=text(number, 40),
            type="email.clicked",
            occurred_at="",
            contact="x",
            campaign="c" * 40,
            message="m" * 40,
            url="https://example.com/blog/" + text(number, 15),
        )
        state = step_event(program, state, click, at, at).state
        assert state is not None
        assert size(state.null_clicks) + size(state.lenses) <= bound(program, 40).clicks
    assert bound(program, 40).clicks * 0.4 < size(state.lenses)  # of two groups of journeys, the other's are not held


def test_the_bound_follows_the_definition() -> None:
    small, large = EVERYTHING, EVERYTHING.replace("times: 50", "times: 100")
    sizes = []
    for text_ in (small, large):
        parsed = parse_journey(text_, "j")
        assert parsed.journey is not None
        sizes.append(bound(compile_program([parsed.journey])))
    assert 50 * 9 == sizes[1].total - sizes[0].total
    assert sizes[1].dedup == sizes[0].dedup


KINDS = [kind for kind in vars(c).values() if isinstance(kind, type) and issubclass(kind, Leaf)]


def of(kind: type[Leaf]) -> Leaf:
    leaf = kind(1, 0, "p", None)
    for field, value in {"n": 9, "span": 300 * DAY, "grace": DAY, "opens": False}.items():
        if hasattr(kind, field):
            setattr(leaf, field, value)
    return leaf


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (Leaf, c.Timer, c.Signal)])
def test_what_a_leaf_keeps_never_passes_its_bound_and_comes_to_it(kind: type[Leaf]) -> None:
    leaf, run, largest = of(kind), Run(status=ACTIVE), 0
    for number in range(300):
        at = START + number * HOUR
        leaf.count(run, Hit(at, 2**31 + number, at - DAY, 0), c.THEN if number % 2 else c.FIRST | c.THEN)
        if number % 40 == 39 and leaf.kind:
            leaf.fire(run, at)
        if leaf.key in run.facts:
            largest = max(largest, size(run.facts[leaf.key]))
            assert size(run.facts[leaf.key]) <= fact_bytes(leaf)
    spread = kind is c.MissedLeaf  # keeps fewer times the closer they lie, hence far from all it may
    assert fact_bytes(leaf) * (0.1 if spread else 0.9) <= largest


def test_a_kind_of_leaf_without_a_bound_is_noticed() -> None:
    with pytest.raises(TypeError, match="has no bound"):
        fact_bytes(of(Leaf))
    assert 0 == fact_bytes(of(c.Signal))
