"""What is due next and what is missing, for every form of condition."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.scenarios.story import START, click, event, flat, sent, span

from stagepost.events import Event, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.explain import Due, Standing, standings
from stagepost.journey.nearest import Near, Seen
from stagepost.journey.parse import parse_journey
from stagepost.journey.simulate import Simulation

LADDER = """journey: j
stages:
  - joined: {when: contact.subscribed, stalls_after: 30d}
  - next: CONDITION
links: {pricing: example.com/pricing}
"""


def standing(text: str, events: Iterable[Event | list[Event]], until: str | None = None) -> Standing:
    journey = parse_journey(text, "j.yaml").journey
    assert journey is not None
    simulation = Simulation(compile_program([journey]))
    pairs = [(each, parse_rfc3339(each.occurred_at)) for each in flat(events)]
    for _ in simulation.run(pairs, START + span(until) if until else None):
        pass
    state = simulation.states["c"]
    assert state is not None
    (found,) = standings(simulation.program, state, simulation.clock)
    return found


def lacks(condition: str, *events: Event | list[Event]) -> list[tuple[str, str]]:
    (stayed,) = standing(LADDER.replace("CONDITION", condition), [event("0d", "contact.subscribed"), *events]).stayed
    return [(lack.condition, lack.have) for lack in stayed.missing]


@pytest.mark.parametrize(
    ("condition", "have"),
    [
        ("order.completed", "not yet"),
        ("{clicked: pricing, times: 3}", "1 of 3"),
        ("{clicked: any, times: 5, within: 2d}", "2 of 5"),
        ("{clicked: any, times: 4, per: campaign}", "2 of 4 campaigns"),
        ("{clicked: any, times: 4, per: campaign, within: 2d}", "1 of 4 campaigns"),
        ("{unsubscribed: any}", "no such withdrawal"),
        ("{after: 9d}", f"due {rfc3339(START + span('9d'))}"),
        ("{missed: {first: page.seen, then: order.completed, within: 2d}}", "waits for page.seen"),
    ],
)
def test_a_condition_that_does_not_hold_says_how_far_it_has_come(condition: str, have: str) -> None:
    clicks = [
        click("1d", "https://example.com/pricing", campaign="a"),
        click("4d", campaign="b"),
        click("5d", campaign="b"),
    ]
    assert [said for _, said in lacks(condition, *clicks)] == [have]


def test_of_all_only_what_does_not_hold_is_missing() -> None:
    found = lacks("{all: [{clicked: any}, order.completed, page.seen]}", click("1d"))
    assert found == [("order.completed", "not yet"), ("page.seen", "not yet")]


def test_of_any_every_part_is_missing_or_none() -> None:
    text = LADDER.replace("CONDITION", "{any: [order.completed, {clicked: any, times: 2}]}")
    (stayed,) = standing(text, [event("0d", "contact.subscribed"), click("1d")]).stayed
    (lack,) = stayed.missing
    assert [(part.condition, part.have) for part in lack.parts] == [
        ("order.completed", "not yet"),
        ("clicked any, 2 times", "1 of 2"),
    ]


def test_not_is_missing_while_its_part_holds() -> None:
    condition = "{all: [{clicked: any}, {not: {unsubscribed: all}}]}"
    withdrawn = event("1d", "email.unsubscribed", scope="all")
    assert lacks(condition, withdrawn, click("2d")) == [
        ("not unsubscribed all", "all is withdrawn since 2026-03-03T00:00:00.000Z")
    ]


def test_a_stage_that_holds_by_a_fact_alone_waits_for_an_event_of_its_own() -> None:
    condition = "{all: [{clicked: any}, {not: {unsubscribed: all}}]}"
    back = event("3d", "contact.subscribed")
    assert lacks(condition, event("1d", "email.unsubscribed", scope="all"), click("2d"), back) == []


def test_timers_that_run_are_due_in_order_with_their_lines() -> None:
    text = LADDER.replace("CONDITION", "order.completed") + "exits:\n  - over: {after: 9d}\n"
    found = standing(text, [event("0d", "contact.subscribed")])
    assert found.next == (
        Due(START + span("9d"), "after", "exits.over", 7),
        Due(START + span("30d"), "stall", "stages.joined", 3),
    )
    assert [stayed.line for stayed in found.stayed] == [4]


def test_a_held_click_is_due_too_and_named_where_it_would_count() -> None:
    unknown = click("1d1m", message="m-a", campaign="a", machine=None)
    text = LADDER.replace("CONDITION", "{clicked: any, times: 2}")
    found = standing(text, [event("0d", "contact.subscribed"), sent("1d", "a"), unknown])
    (lack,) = found.stayed[0].missing
    arrived, judged = rfc3339(START + span("1d1m")), rfc3339(START + span("1d1m10s"))
    assert lack.have == f"0 of 2; the click of {arrived} waits until {judged} for the verdict whether a person made it"
    assert [(due.kind, due.at) for due in found.next] == [
        ("hold", START + span("1d1m10s")),
        ("stall", START + span("30d")),
    ]


SETBACK = """journey: j
stages:
  - joined: contact.subscribed
  - reader: {clicked: any}
setbacks:
  - cold: {quiet: 3d}
  - off: {unsubscribed: all}
  - shut: {event: email.bounced, until: never}
recover: page.seen
"""


def test_in_a_setback_its_way_out_comes_first() -> None:
    found = standing(SETBACK, [event("0d", "contact.subscribed")], until="4d")
    assert (found.place, found.best, found.since) == ("cold", "joined", START + span("3d"))
    assert [(s.rule, s.line, s.target, [lack.condition for lack in s.missing]) for s in found.stayed] == [
        ("recover", 9, "joined", ["page.seen"]),
        ("stages.reader", 4, "reader", ["clicked any"]),
    ]


def test_the_way_out_of_unsubscribed_is_to_give_it_back() -> None:
    withdrawn = event("1d", "email.unsubscribed", scope="all")
    found = standing(SETBACK, [event("0d", "contact.subscribed"), withdrawn])
    assert [(s.rule, s.line, [lack.have for lack in s.missing]) for s in found.stayed[:1]] == [
        ("setbacks.off.until", 7, ["all is withdrawn since 2026-03-03T00:00:00.000Z"])
    ]


def test_out_of_a_setback_that_never_ends_nothing_is_missing() -> None:
    found = standing(SETBACK, [event("0d", "contact.subscribed"), event("1d", "email.bounced")])
    assert (found.place, found.stayed) == ("shut", ())


EXIT = "journey: j\nstages: [{joined: contact.subscribed}]\nexits: [{gone: email.complained}]\n"


@pytest.mark.parametrize(
    ("reenter", "returns", "stayed"),
    [
        ("", "no other run begins (reenter: never, which is the default)", 0),
        ("reenter: always\n", "another run may begin at any time (reenter: always)", 1),
        (
            "reenter: {after: 9d}\n",
            f"another run may begin from {rfc3339(START + span('10d'))} on (reenter: after 9d)",
            1,
        ),
        (
            "reenter: {after: 9d, never_after: [gone]}\n",
            "no other run begins (reenter names gone under never_after)",
            0,
        ),
    ],
)
def test_after_an_exit_it_says_whether_another_run_may_begin(reenter: str, returns: str, stayed: int) -> None:
    found = standing(EXIT + reenter, [event("0d", "contact.subscribed"), event("1d", "email.complained")])
    assert (found.status, found.place, found.returns, len(found.stayed)) == ("exited", "gone", returns, stayed)


def test_without_a_run_every_stage_is_ahead_or_with_enter_first_the_first() -> None:
    text = LADDER.replace("CONDITION", "order.completed")
    seen = [event("0d", "page.seen")]
    assert [s.target for s in standing(text, seen).stayed] == ["joined", "next"]
    found = standing(text + "enter: first\n", seen)
    assert ([s.target for s in found.stayed], found.status, found.run) == (["joined"], "none", 0)


NEARING = """journey: j
sends: ["n-*"]
stages:
  - joined: contact.subscribed
  - buyer: order.completed
setbacks:
  - cold: {no_click: {sends: 3, grace: 2d}, from: [joined]}
  - dormant: {quiet: 14d}
  - lost: {missed: {first: page.seen, then: order.completed, within: 5d}}
  - worn: {event: email.deferred, times: 3}
  - off: {unsubscribed: any}
recover: {clicked: any}
"""


def approaching(*events: Event | list[Event], until: str | None = None) -> list[tuple[str, int | None, str]]:
    found = standing(NEARING, [event("0d", "contact.subscribed"), *events], until)
    return [(each.target, each.line, each.missing[0].have) for each in found.approaching]


def at(offset: str) -> str:
    return rfc3339(START + span(offset))


def test_a_setback_that_has_come_some_way_is_approaching_with_what_it_still_takes() -> None:
    quiet = ("dormant", 8, f"due {at('14d')}, quiet since {at('0d')}")
    assert approaching() == [quiet]
    sends = [sent("1d", "n-1"), sent("2d", "n-2")]
    after_two = f"2 of 3 sends without a click since {at('0d')}, the third makes it cold 2d later"
    assert approaching(*sends) == [("cold", 7, after_two), quiet]
    after_three = f"3 of 3 sends without a click since {at('0d')}, due {at('5d')}"
    assert approaching(*sends, sent("3d", "n-3"))[0] == ("cold", 7, after_three)
    seen = [("lost", 9, f"due {at('6d')}, page.seen came at {at('1d')}")]
    assert approaching(event("1d", "page.seen"))[1:] == seen
    assert approaching(event("1d", "email.deferred"))[1:] == [("worn", 10, "1 of 3")]


def test_a_click_begins_the_count_of_sends_anew() -> None:
    found = approaching(sent("1d", "n-1"), click("2d"), sent("3d", "n-2"))
    assert found[0][2] == f"1 of 3 sends without a click since {at('2d')}, the third makes it cold 2d later"


def test_a_setback_approaches_only_where_it_can_strike() -> None:
    bought = [event("1d", "order.completed"), sent("2d", "n-1")]
    assert [target for target, _, _ in approaching(*bought)] == ["dormant"]
    in_dormant = approaching(sent("1d", "n-1"), event("1d", "page.seen"), event("2d", "email.deferred"), until="15d")
    assert [target for target, _, _ in in_dormant] == ["worn"]


def test_after_an_exit_no_setback_approaches() -> None:
    text = NEARING + "exits:\n  - gone: email.complained\n"
    gone = [event("0d", "contact.subscribed"), sent("1d", "n-1"), event("2d", "email.complained")]
    assert standing(text, gone).approaching == ()


def test_what_came_near_stands_beside_what_is_missing() -> None:
    text = LADDER.replace("CONDITION", "{any: [{clicked: pricing}, order.completed]}")
    journey = parse_journey(text, "j.yaml").journey
    assert journey is not None
    simulation = Simulation(compile_program([journey]))
    other = click("1d", "https://example.com/blog?token=x")
    pairs = [(each, parse_rfc3339(each.occurred_at)) for each in (event("0d", "contact.subscribed"), other)]
    for _ in simulation.run(pairs):
        pass
    (found,) = standings(simulation.program, simulation.states["c"], simulation.clock, Seen(pairs))
    (lack,) = found.stayed[0].missing
    why = "its URL is under none of the links"
    near = Near(
        START + span("1d"), "email.clicked", None, "https://example.com/blog", why, ("pricing example.com/pricing",)
    )
    assert [part.near for part in lack.parts] == [near, None]


def test_a_held_click_is_no_earlier_one_that_counts_already() -> None:
    text = LADDER.replace("CONDITION", "{clicked: any, times: 3, per: campaign}")
    journey = parse_journey(text, "j.yaml").journey
    assert journey is not None
    simulation = Simulation(compile_program([journey]))
    held = [click(f"1d1m{n}s", message="m-a", campaign="a", machine=None) for n in (0, 5)]
    pairs = [
        (each, parse_rfc3339(each.occurred_at))
        for each in flat([event("0d", "contact.subscribed"), sent("1d", "a"), *held])
    ]
    list(simulation.feed(pairs))
    (found,) = standings(simulation.program, simulation.states["c"], simulation.clock, Seen(pairs))
    (lack,) = found.stayed[0].missing
    assert lack.have.startswith("0 of 3 campaigns; the click of ")
    assert lack.near is None


def test_what_is_withdrawn_is_named_with_its_id_and_since_when() -> None:
    left = [event(f"{day}d", "email.unsubscribed", scope="list", scope_id=f"l{day}") for day in (1, 2)]
    back = event("3d", "email.resubscribed", scope="list", scope_id="l1")
    assert lacks("{all: [{clicked: any}, {not: {unsubscribed: any}}]}", *left, back, click("4d")) == [
        ("not unsubscribed any", "list:l2 is withdrawn since 2026-03-04T00:00:00.000Z")
    ]


def test_a_timer_of_a_setback_that_does_not_reach_the_contact_is_not_due() -> None:
    text = LADDER.replace("CONDITION", "order.completed") + (
        "setbacks:\n  - cold: {quiet: 40d, until: never}\n  - gone: {quiet: 50d, until: never, from: [next]}\n"
        "  - lost: {quiet: 60d, until: never, from: [joined, next]}\ngoal: {reach: next}\n"
    )
    joined = event("0d", "contact.subscribed")
    due = [each.rule for each in standing(text, [joined]).next if each.kind == "quiet"]
    assert due == ["setbacks.cold", "setbacks.lost"]
    due = [each.rule for each in standing(text, [joined, event("1d", "order.completed")]).next]
    assert due == ["setbacks.gone", "setbacks.lost"]
    due = [each.rule for each in standing(text, [joined, event("41d", "email.deferred")]).next]
    assert due == ["setbacks.lost"]
