"""What came near a condition: each reason for which an event of the right kind does not match."""

from __future__ import annotations

import pytest
from tests.scenarios.story import START, click, event, span

from stagepost.events import Event
from stagepost.journey.definition import Condition, Journey
from stagepost.journey.nearest import Near, Seen, nearest
from stagepost.journey.parse import parse_journey

PRICING = "https://example.com/pricing/teams"


def read(condition: str) -> tuple[Journey, Condition]:
    text = f"""journey: j
sends: ["n-*"]
links:
  pricing: {{url: example.com/pricing/**, means: intent}}
  webinar: example.com/webinars/*
  leave: {{url: example.com/leave, means: disengagement}}
stages:
  - s: {condition}
"""
    journey = parse_journey(text, "j.yaml").journey
    assert journey is not None
    return journey, journey.stages[0].when


def near(condition: str, *events: Event, since: str = "0d", whole: bool = True) -> Near | None:
    journey, when = read(condition)
    pairs = [(each, START + span(f"{n}d")) for n, each in enumerate(events, start=1)]
    return nearest(journey, when, Seen(pairs, whole), START + span(since))


def why(condition: str, *events: Event, whole: bool = True) -> str | None:
    found = near(condition, *events, whole=whole)
    return None if found is None else found.why


def test_a_click_elsewhere_names_its_url_without_query_and_the_links_that_were_tried() -> None:
    found = near("{clicked: [pricing, webinar]}", click("1d", "https://example.com/blog?token=x", campaign="n-1"))
    assert found == Near(
        START + span("1d"),
        "email.clicked",
        "n-1",
        "https://example.com/blog",
        "its URL is under none of the links",
        ("pricing example.com/pricing/**", "webinar example.com/webinars/*"),
    )


@pytest.mark.parametrize(
    ("condition", "came", "said"),
    [
        ("{clicked: any}", click("1d", PRICING, machine=True), "a machine made it"),
        ("{clicked: any}", click("1d", PRICING, test=True), "a test event"),
        ("{clicked: any}", click("1d", PRICING, variant="amp"), "it is a second report"),
        ("{clicked: any}", click("1d", PRICING, recipient_certainty="guess"), "it is not certain who made it"),
        (
            "{clicked: any}",
            click("1d", "https://example.com/leave"),
            "link leave means disengagement, which any leaves out",
        ),
        ("{clicked: pricing}", event("1d", "email.clicked"), "it has no URL"),
        ("{clicked: pricing, campaign: n-*}", click("1d", PRICING, campaign="x"), "its campaign is not n-*"),
        ("{opened: any, campaign: n-*}", event("1d", "email.opened"), "it has no campaign, so not n-*"),
        (
            "{event: order.completed, where: {total: {gt: 9}}}",
            event("1d", "order.completed", data={"total": 5}),
            "total is 5, asked for is total > 9",
        ),
        (
            "{event: order.completed, where: {plan: pro}}",
            event("1d", "order.completed"),
            "plan is missing, asked for is plan = pro",
        ),
        ("order.completed", event("1d", "order.complete"), "its type is not order.completed"),
        (
            "{subscribed: news}",
            event("1d", "email.resubscribed", scope="list", scope_id="offers"),
            "its scope is list:offers, not news",
        ),
        (
            "{unsubscribed: all}",
            event("1d", "email.unsubscribed", scope="list", scope_id="a"),
            "its scope is list:a, not all",
        ),
        (
            "{no_click: {sends: 2, grace: 1d}}",
            event("1d", "email.delivered", campaign="offer"),
            "its campaign is none of sends: n-*",
        ),
    ],
)
def test_it_says_which_test_an_event_did_not_pass(condition: str, came: Event, said: str) -> None:
    assert said == why(condition, came)


@pytest.mark.parametrize(
    ("condition", "came"),
    [
        ("{clicked: pricing}", click("1d", PRICING)),
        ("{unsubscribed: all}", event("1d", "email.unsubscribed", scope="all", machine=True)),
        ("order.completed", event("1d", "page.seen")),
        ("{quiet: 3d}", click("1d", PRICING)),
        ("{no_click: {sends: 2, grace: 1d}}", event("1d", "email.delivered", campaign="n-1")),
    ],
)
def test_what_matches_or_is_of_another_kind_did_not_come_near(condition: str, came: Event) -> None:
    assert None is near(condition, came)


def test_the_newest_that_did_not_match_is_told_and_none_from_before_the_run() -> None:
    clicks = [click("1d", "https://example.com/a"), click("2d", "https://example.com/b"), click("3d", PRICING)]
    found = near("{clicked: pricing, times: 2}", *clicks)
    assert found is not None
    assert found.url == "https://example.com/b"
    assert None is near("{clicked: pricing, times: 2}", *clicks, since="3d")


def test_of_records_of_moves_only_what_they_hold_is_judged() -> None:
    asked = "{clicked: pricing, where: {plan: pro}}"
    assert None is why(asked, click("1d", PRICING), whole=False)
    assert why(asked, click("1d", PRICING)) == "plan is missing, asked for is plan = pro"


def test_a_long_value_is_cut() -> None:
    said = why("{event: a.b, where: {x: y}}", event("1d", "a.b", data={"x": "long " * 100}))
    assert said is not None
    assert len(said) < 120


def test_a_click_that_is_no_further_campaign_says_so() -> None:
    twice = "{clicked: any, times: 2, per: campaign}"
    first, again = click("1d", PRICING, campaign="n-1"), click("2d", PRICING, campaign="n-1")
    assert why(twice, first, again) == "campaign n-1 counts already, once per: campaign"
    assert why(twice, first) is None
    nameless = click("1d", PRICING, campaign=None, message=None)
    assert why(twice, nameless) == "it has neither campaign nor message, and per: campaign counts these"
    machine = click("1d", PRICING, campaign="n-1", machine=True)
    assert why(twice, machine, again) == "a machine made it"
