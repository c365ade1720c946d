"""The laws of journeys.md 6, over generated journeys and generated streams."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.scenarios.story import START, Partition, exit_, journey, scopes, setback, stage, where

from stagepost.events import DAY, HOUR, MICROS, MINUTE, Event, parse_rfc3339, rfc3339
from stagepost.journey import definition as d
from stagepost.journey.result import Outcome, Step
from stagepost.journey.state import pack, unpack
from stagepost.journey.step import step_event

LINKS = (
    d.Link("pricing", "example.com/pricing", "intent"),
    d.Link("blog", "example.com/blog/**"),
    d.Link("leave", "example.com/leave", "disengagement"),
)
URLS = [f"https://example.com/{path}" for path in ("pricing", "blog/1", "blog/2", "leave", "pricing?x=1")] + [None]
CAMPAIGNS = ["n-1", "n-2", "w-1", None]
TYPES = [
    "email.sent",
    "email.delivered",
    "email.delivered",
    "email.opened",
    "email.clicked",
    "email.clicked",
    "email.clicked",
    "email.complained",
    "email.bounced",
    "email.unsubscribed",
    "email.resubscribed",
    "contact.subscribed",
    "contact.consent_given",
    "contact.consent_withdrawn",
    "page.seen",
    "order.completed",
]
SPANS = st.sampled_from([5 * MICROS, MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY])

countings = st.builds(
    d.Counting, times=st.integers(1, 3), within=st.none() | SPANS, per_campaign=st.booleans()
) | st.just(d.Counting())
campaigns = st.sampled_from([None, None, "n-1", "n-*", "*-1"])
scope_patterns = st.sampled_from(["any", "all", "list:a", "a*"]).map(scopes)


def events_are(counting: st.SearchStrategy[d.Counting], **more: Any) -> st.SearchStrategy[Any]:
    after = st.none() | SPANS
    return st.one_of(
        st.builds(
            d.EventIs,
            type=st.sampled_from(["page.seen", "order.completed", "email.bounced", "email.sent", "email.clicked"]),
            where=st.sampled_from([(), where(("n", "ge", 2)), where(("campaign", "matches", "n-"))]),
            campaign=campaigns,
            after_send=after,
            counting=counting,
        ),
        st.builds(
            d.Clicked,
            links=st.sampled_from([None, ("pricing",), ("blog", "leave")]),
            campaign=campaigns,
            after_send=after,
            counting=counting,
        ),
        st.builds(d.Opened, campaign=campaigns, counting=counting),
        st.builds(d.Subscribed, scopes=scope_patterns, counting=counting),
    )


withdrawals = st.builds(d.Unsubscribed, scopes=scope_patterns, after_send=st.none() | SPANS, campaign=campaigns)
plain = events_are(st.just(d.Counting())) | withdrawals
timers = st.one_of(
    st.builds(d.NoClick, sends=st.integers(1, 3), grace=SPANS, count=st.sampled_from(["delivered", "sent"])),
    st.builds(d.Quiet, span=SPANS, opens=st.booleans()),
    st.builds(d.Missed, first=plain, then=plain | st.builds(lambda a, b: d.AnyOf((a, b)), plain, plain), within=SPANS),
    st.builds(d.Stuck, span=SPANS),
    st.builds(d.After, span=SPANS),
)
leaves = st.one_of(events_are(countings), withdrawals, timers)
conditions = st.recursive(
    leaves,
    lambda inner: (
        st.builds(
            lambda kind, parts: kind(tuple(parts)),
            st.sampled_from([d.AnyOf, d.AllOf]),
            st.lists(inner, min_size=2, max_size=3),
        )
        | st.builds(lambda a, b: d.AllOf((a, d.Not(b))), inner, plain)
    ),
    max_leaves=4,
)


@st.composite
def journeys(draw: st.DrawFn, name: str = "j") -> d.Journey:
    stages = [
        stage(f"stage{i}", draw(conditions | plain), draw(st.sampled_from([None, "1h", "2d"])))
        for i in range(draw(st.integers(1, 4)))
    ]
    if draw(st.booleans()):
        stages[0] = stage("stage0", d.AnyOf((d.EventIs("email.delivered"), d.EventIs("page.seen"))))
    recover = draw(conditions | plain)
    setbacks = [
        setback(f"setback{i}", draw(conditions), until=draw(st.sampled_from([None, "never"]) | conditions))
        for i in range(draw(st.integers(0, 3)))
    ]
    exits = tuple(exit_(f"exit{i}", draw(conditions | plain)) for i in range(draw(st.integers(0, 2))))
    return journey(
        stages,
        name=name,
        links=LINKS,
        sends=draw(st.sampled_from([(), ("n-*",)])),
        setbacks=setbacks,
        recover=recover,
        exits=exits,
        enter=draw(st.sampled_from(["any", "first"])),
        reenter=draw(st.sampled_from([None, d.Reenter(0), d.Reenter(HOUR, ("exit1",))])),
        goal=draw(st.sampled_from([None, d.Goal("stage0", DAY)])),
        consent=draw(st.sampled_from([None, None, d.Consent("t"), d.Consent("t", "granted")])),
        bots=draw(st.sampled_from([d.Bots(), d.Bots(), None, d.Bots(burst_urls=2, hold=MINUTE)])),
        lateness=draw(st.sampled_from([DAY, HOUR, 0])),
    )


@st.composite
def streams(draw: st.DrawFn, contacts: tuple[str, ...] = ("x", "y"), size: int = 25) -> list[Event]:
    """Events whose times go on, with jumps back; ids differ."""
    now = START
    events = []
    for number in range(draw(st.integers(1, size))):
        now += draw(st.sampled_from([0, MICROS, 3 * MICROS, MINUTE, HOUR, 7 * HOUR, 2 * DAY]))
        back = draw(st.sampled_from([0, 0, 0, 0, MICROS, HOUR, 30 * HOUR]))
        type_ = draw(st.sampled_from(TYPES))
        clicked = type_ == "email.clicked"
        scoped = type_ in ("email.unsubscribed", "email.resubscribed")
        events.append(
            Event(
                id=f"e{number}",
                type=type_,
                occurred_at=rfc3339(max(now - back, START)),
                contact=draw(st.sampled_from(contacts)),
                campaign=draw(st.sampled_from(CAMPAIGNS)),
                message=draw(st.sampled_from(["m1", "m2", None])),
                url=draw(st.sampled_from(URLS)) if clicked else None,
                machine=draw(st.sampled_from([False, False, None, None, True])),
                data=draw(st.sampled_from([{}, {"n": 1}, {"n": 2}, {"n": "2"}])),
                **(draw(st.sampled_from([{}, {"scope": "list", "scope_id": "a"}, {"scope": "all"}])) if scoped else {}),
                **(draw(st.sampled_from([{}, {}, {}, {"variant": "unique"}])) if clicked else {}),
            )
        )
    return events


@st.composite
def programs(draw: st.DrawFn) -> list[d.Journey]:
    return [draw(journeys(name=name)) for name in draw(st.sampled_from([("one",), ("one", "two")]))]


MANY = settings(
    max_examples=min(60, settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
END = START + 60 * DAY


def outcome_of(partition: Partition, contact: str | None = None) -> list[Any]:
    """All that a partition gave away, refusals and counts included; what gave nothing left out."""
    return [
        (who, step.moves, step.counts, step.refused)
        for who, step in partition.steps
        if (step.moves or step.counts or step.refused) and contact in (None, who)
    ]


@MANY
@given(programs(), streams())
def test_duplicates_change_nothing(program: list[d.Journey], events: list[Event]) -> None:
    once, twice = Partition(*program), Partition(*program)

    once.batch(events, until=END)
    twice.batch([event for event in events for _ in range(2)], until=END)

    assert outcome_of(once) == outcome_of(twice)
    assert once.states == twice.states
    assert len(events) == sum(step.outcome == Outcome.DUPLICATE for _, step in twice.steps)


@MANY
@given(programs(), streams(), st.sets(st.integers(0, 25)), st.booleans())
def test_batch_boundaries_and_storage_change_nothing(
    program: list[d.Journey], events: list[Event], cuts: set[int], stored: bool
) -> None:
    whole, pieces = Partition(*program), Partition(*program, stored=stored)

    whole.batch(events, until=END)
    start = 0
    for cut in [*sorted(cuts), len(events)]:
        pieces.batch(events[start:cut])
        start = max(start, cut)
    pieces.batch([], until=END)

    assert outcome_of(whole) == outcome_of(pieces)
    assert {c: pack(s) for c, s in whole.states.items() if s} == {c: pack(s) for c, s in pieces.states.items() if s}


@MANY
@given(programs(), streams())
def test_other_contacts_change_nothing_while_the_clock_stays_the_same(
    program: list[d.Journey], events: list[Event]
) -> None:
    """Contact x with y beside it, and alone with only y's clock: events of nobody that no rule names."""
    both, alone = Partition(*program), Partition(*program)

    both.batch(events, until=END)
    alone.batch(
        [
            event if event.contact == "x" else structs.replace(event, type="tick.tock", contact="nobody", data={})
            for event in events
        ],
        until=END,
    )

    assert outcome_of(both, "x") == outcome_of(alone, "x")
    assert both.states.get("x") == alone.states.get("x")


@MANY
@given(programs(), streams())
def test_replay_gives_the_same_ids_and_ids_are_never_given_twice(program: list[d.Journey], events: list[Event]) -> None:
    first, again = Partition(*program), Partition(*program)

    moves = first.batch(events, until=END)

    assert moves == again.batch(events, until=END)
    assert len(moves) == len({move.id for move in moves})


@MANY
@given(programs(), streams())
def test_records_of_a_run_are_in_order(program: list[d.Journey], events: list[Event]) -> None:
    moves = Partition(*program).batch(events, until=END)

    runs: dict[str, list[Any]] = {}
    for move in moves:
        runs.setdefault(move.run, []).append(move)
    for run in runs.values():
        assert list(range(1, len(run) + 1)) == [move.move for move in run]
        times = [parse_rfc3339(move.at) for move in run]
        assert times == sorted(times)
        assert [None] + [move.to for move in run[:-1]] == [move.from_ for move in run]
        assert all(move.kind != "exit" for move in run[:-1])
        assert sum(move.goal for move in run) <= 1


@MANY
@given(programs(), streams(contacts=("x",), size=40))
def test_each_step_leaves_the_given_state_as_it_was(program: list[d.Journey], events: list[Event]) -> None:
    partition = Partition(*program)

    for event in events:
        before = partition.states.get("x")
        packed = pack(before) if before is not None else None
        partition.batch([event])
        assert packed == (pack(before) if before is not None else None)
        after = partition.states["x"]
        assert after is not None
        assert after == unpack(pack(after))


def strange_events() -> st.SearchStrategy[Event]:
    """Events that a producer might send: the fields have the right types and the wrong contents."""
    texts = st.text(max_size=8) | st.sampled_from(["", ":", "list", "all", "a" * 300, "x:y", "http://[", "%zz", "\x00"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
        max_leaves=3,
    )
    names = st.sampled_from(["n", "purpose", "campaign", "a.b"])
    return st.builds(
        Event,
        id=texts,
        type=st.sampled_from([*TYPES, "email.unknown", "email.replied", "email.nonsense", "contact.nonsense", "a.b"]),
        occurred_at=st.integers(START, START + DAY).map(rfc3339),
        contact=st.just("x"),
        campaign=st.none() | texts,
        message=st.none() | texts,
        url=st.none() | texts | st.sampled_from(URLS),
        machine=st.sampled_from([None, True, False]),
        data=st.dictionaries(names, values, max_size=2),
        metadata=st.dictionaries(names, values, max_size=2),
        scope=texts,
        scope_id=texts,
        purpose=texts,
        bounce_class=texts,
        recipient_certainty=st.sampled_from(["exact", "candidate", ""]),
        method=texts,
    )


@MANY
@given(programs(), st.lists(strange_events(), max_size=12))
def test_no_event_makes_a_step_raise(program: list[d.Journey], events: list[Event]) -> None:
    partition = Partition(*program)

    partition.batch(events, until=END)

    steps: list[Step] = [step for _, step in partition.steps if step.outcome is not None]
    assert len(events) == len(steps)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(journeys(), st.integers(0, 2**32))
def test_state_is_bounded_by_the_definition(program: d.Journey, seed: int) -> None:
    """A thousand events more do not add to a state that a thousand have filled."""
    partition = Partition(program)
    state = None
    sizes = []
    for number in range(2000):
        mix = (seed + number * 2654435761) % 2**32
        type_ = TYPES[mix % len(TYPES)]
        event = Event(
            id=f"e{number}",
            type=type_,
            occurred_at="",
            contact="x",
            campaign=f"n-{mix % 997}",
            message=f"m-{number}",
            url=f"https://example.com/blog/{number}",
            machine=[None, False][mix % 2],
            purpose=f"p{number}",
            scope="list",
            scope_id=f"l{number}",
        )
        at = START + number * 7 * MINUTE
        state = step_event(partition.program, state, event, at, at).state
        assert state is not None
        sizes.append(len(pack(state)))
    assert max(sizes[1000:]) <= max(sizes[:1000]) + 400
