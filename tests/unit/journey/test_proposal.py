"""A journey proposed from a sample: what it takes from it, that it is always right, and what it keeps out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagepost.events import Event
from stagepost.journey import proposal
from stagepost.journey.definition import Journey, Link
from stagepost.journey.parse import parse_journey
from stagepost.journey.proposal import Sample, propose
from stagepost.journey.timeline import run_timelines


def event(type_: str, **fields: Any) -> Event:
    body = {"id": "1", "type": type_, "occurred_at": "2026-03-02T00:00:00Z", "contact": "c-1", **fields}
    return msgspec.convert(body, Event)


def proposed(*events: Event) -> Journey:
    sample = Sample()
    for each in events:
        sample.add(each)
    text = propose(sample)
    parsed = parse_journey(text, "p.yaml")
    assert ((), True) == (parsed.problems, parsed.journey is not None), text
    assert parsed.journey is not None
    results = run_timelines(parsed.journey)
    assert [] == [result for result in results if not result.passed or not result.actual]
    return parsed.journey


def clicks(url: str, count: int) -> list[Event]:
    return [event("email.clicked", url=url)] * count


def test_links_are_the_places_clicked_most_and_say_what_a_click_means() -> None:
    journey = proposed(
        *clicks("https://Shop.example.com/Pricing/teams?utm_source=x", 9),
        *clicks("https://shop.example.com/blog", 5),
        *clicks("https://shop.example.com/email-preferences/a/b", 3),
        *clicks("https://shop.example.com/", 2),
        *clicks("https://other.example.com/blog/1", 1),
    )
    assert [
        Link("pricing", "shop.example.com/Pricing/**", "intent"),
        Link("blog", "shop.example.com/blog", None),
        Link("email-preferences", "shop.example.com/email-preferences/**", "disengagement"),
        Link("home", "shop.example.com", None),
        Link("blog_2", "other.example.com/blog/**", None),
    ] == list(journey.links)


def test_campaigns_that_differ_in_a_counter_are_one_pattern() -> None:
    names = ["nurture-1", "nurture-2", "weekly-2026-01-05", "weekly-2026-01-12", "promo", "sale-3"]
    journey = proposed(*(event("email.delivered", campaign=name) for name in names))
    assert {"nurture-*", "weekly-*", "promo", "sale-3"} == set(journey.sends)


def test_the_tests_show_a_contact_at_risk_where_three_campaigns_can_be_ignored() -> None:
    for names in ([], ["nurture-1", "nurture-2"], ["a", "b", "c"]):
        journey = proposed(*(event("email.delivered", campaign=name) for name in names))
        assert ["at_risk", "engaged"] == [line.target for line in journey.tests[1].expect][-2:]


def test_own_events_are_stages_the_rarer_the_higher_and_the_last_is_the_goal() -> None:
    journey = proposed(
        event("contact.subscribed"),
        *[event("page.viewed")] * 9,
        *[event("webinar.registered")] * 4,
        event("order.completed"),
        event("email.unsubscribed", scope="list", scope_id="news"),
    )
    assert ["subscribed", "engaged", "page_viewed", "webinar_registered", "order_completed"] == [
        stage.name for stage in journey.stages
    ]
    assert journey.goal is not None
    assert ("order_completed", "opted_out") == (journey.goal.reach, journey.setbacks[-1].name)


def test_nothing_seen_gives_a_plain_journey() -> None:
    assert ["receiving", "engaged"] == [stage.name for stage in proposed().stages]


def test_what_could_be_about_a_person_stays_out() -> None:
    sample = Sample()
    for each in (
        event("email.clicked", url="https://example.com/ann@example.com/secret"),
        event("email.clicked", url="https://example.com/account/ann-smith-4711?token=abc"),
        event("email.clicked", url="https://ann:pw@example.com/x"),
        event("email.delivered", campaign="for ann@example.com", recipient="ann@example.com"),
        event("order.completed", data={"name": "ann"}, contact="ann"),
    ):
        sample.add(each)
    assert "ann" not in propose(sample).replace("channel", "")


def test_what_is_counted_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "KINDS", 3)
    sample = Sample()
    for number in range(20):
        sample.add(event("email.clicked", url=f"https://example.com/p{number}"))
        sample.add(event("email.delivered", campaign=f"c{number}"))
        sample.add(event(f"a.b{number}"))
    assert (3, 3, 3) == (len(sample.places), len(sample.campaigns), len(sample.types))


def test_test_events_count_for_nothing() -> None:
    sample = Sample()
    sample.add(event("order.completed", test=True))
    assert (0, {}) == (sample.events, sample.types)


WORDS = st.text(max_size=12) | st.sampled_from(
    ["any", "all", "engaged", "a.b", "pricing", "-", "9-1", "nurture-1", "null"]
)
URLS = st.builds("{}://{}/{}/{}".format, st.sampled_from(["http", "mailto"]), WORDS | st.just("x.com"), WORDS, WORDS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda type_, campaign, url: event(type_, campaign=campaign, url=url),
            st.sampled_from(
                ["email.clicked", "email.delivered", "email.unsubscribed", "contact.subscribed", "email.sent"]
            )
            | st.builds("{}.{}".format, WORDS, WORDS),
            st.none() | WORDS,
            st.none() | WORDS | URLS,
        ),
        max_size=30,
    )
)
def test_whatever_was_seen_the_proposal_validates_and_its_tests_pass(events: list[Event]) -> None:
    proposed(*events)
