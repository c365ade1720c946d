from __future__ import annotations

import json
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest

from stagepost.demo.traffic import (
    COMPLAINT_CAMPAIGN,
    SPAN,
    UNSUBSCRIBE_CAMPAIGN,
    History,
    Post,
    history,
    onward,
    planted,
)
from stagepost.engine.intake import read_event
from stagepost.engine.normalise_worker import NormaliseProcessor
from stagepost.engine.plan import Record, Topic
from stagepost.events import HOUR, MICROS, MINUTE, Rejected, parse_rfc3339

START = parse_rfc3339("2026-11-03T00:00:00Z")
NOW = START + SPAN

NOTICED = 5
"""Events that a detector needs at least before it fires (alerts.md 2.6)."""


@pytest.fixture(scope="module")
def made() -> History:
    return history(7, START)


def good_raw(made: History) -> list[tuple[Post, dict[str, Any]]]:
    """Every event of every raw body that is meant to be understood, with its post; repeated bodies left out."""
    found = []
    for post in made.posts:
        if post.topic == Topic.RAW and post.dead_letter is None and not post.repeats:
            body = json.loads(post.value)
            found += [(post, event) for event in (body if isinstance(body, list) else [body])]
    return found


def campaign(event: dict[str, Any]) -> str:
    return str(event.get("campaign_id") or event["Metadata"]["campaign_id"])


def name(event: dict[str, Any]) -> str:
    return str(event.get("event") or event["RecordType"])


def at(event: dict[str, Any]) -> int:
    if "timestamp" in event:
        return int(event["timestamp"]) * MICROS
    text = next(event[key] for key in ("DeliveredAt", "ReceivedAt", "BouncedAt", "ChangedAt") if key in event)
    return parse_rfc3339(text[:-2] + "Z")


def test_the_same_seed_and_start_give_the_same_bytes(made: History) -> None:
    assert made == history(7, START)


def test_another_seed_gives_other_traffic(made: History) -> None:
    assert made.posts != history(8, START).posts


def test_posts_come_in_the_order_of_their_times_and_within_the_three_weeks(made: History) -> None:
    assert all(a.at <= b.at for a, b in pairwise(made.posts))
    assert made.start <= made.posts[0].at and made.posts[-1].at < made.end == NOW


def test_a_few_thousand_contacts_and_ten_campaigns_over_both_providers(made: History) -> None:
    providers = {(campaign(event), dict(post.headers)["provider"]) for post, event in good_raw(made)}
    assert 3_000 <= made.contacts <= 4_000
    assert 10 == len(made.campaigns) == len(providers)
    assert {b"sendgrid", b"postmark"} == {provider for _, provider in providers}


def test_raw_posts_carry_the_headers_of_a_bridge_and_lie_under_their_account(made: History) -> None:
    for post in made.posts:
        if post.topic == Topic.RAW:
            headers = dict(post.headers)
            assert headers["account"] == headers["provider"] == post.key
            assert abs(parse_rfc3339(headers["received_at"].decode()) - post.at) < MICROS
            assert b"application/json" == headers["content-type"]


def test_a_post_says_how_many_events_it_holds(made: History) -> None:
    for post in made.posts:
        if post.topic == Topic.RAW and post.dead_letter is None:
            body = json.loads(post.value)
            assert post.parts == (len(body) if isinstance(body, list) else 1)
    assert any(post.parts > 5 for post in made.posts)


@pytest.mark.parametrize("seed", range(3))
def test_only_the_planted_campaigns_have_enough_complaints_or_withdrawals_to_be_noticed(seed: int) -> None:
    made = history(seed, START)
    complaints: Counter[str] = Counter()
    withdrawals: Counter[str] = Counter()
    deliveries: Counter[str] = Counter()
    for _, event in good_raw(made):
        complaints[campaign(event)] += name(event) in ("spamreport", "SpamComplaint")
        withdrawals[campaign(event)] += name(event) in ("unsubscribe", "group_unsubscribe", "SubscriptionChange")
        deliveries[campaign(event)] += name(event) in ("delivered", "Delivery")
    assert deliveries[COMPLAINT_CAMPAIGN] >= 3_000 and deliveries[UNSUBSCRIBE_CAMPAIGN] >= 3_000
    assert complaints[COMPLAINT_CAMPAIGN] >= 0.01 * deliveries[COMPLAINT_CAMPAIGN]
    assert withdrawals[UNSUBSCRIBE_CAMPAIGN] >= 0.02 * deliveries[UNSUBSCRIBE_CAMPAIGN]
    assert all(n < NOTICED for name, n in complaints.items() if name != COMPLAINT_CAMPAIGN)
    assert all(n < NOTICED for name, n in withdrawals.items() if name != UNSUBSCRIBE_CAMPAIGN)


def test_no_click_comes_sooner_after_its_delivery_than_a_person_could_make_it(made: History) -> None:
    arrived: dict[str, int] = {}
    clicked: dict[str, int] = {}
    for _, event in good_raw(made):
        message = event.get("MessageID") or event["sg_message_id"]
        if name(event) in ("delivered", "Delivery"):
            arrived[message] = at(event)
        elif name(event) in ("click", "Click"):
            clicked[message] = min(clicked.get(message, NOW), at(event))
    assert len(clicked) > 500
    assert min(time - arrived[message] for message, time in clicked.items()) >= 2 * MINUTE


def test_one_batch_is_delivered_twice_byte_for_byte(made: History) -> None:
    [again] = [post for post in made.posts if post.repeats]
    first = next(post for post in made.posts if post.value == again.value)
    assert first.at < again.at and first.parts == again.parts == planted(made.posts).duplicated > 1


def test_late_events_lie_behind_the_clock_by_more_than_the_lateness_and_nothing_else_does(made: History) -> None:
    ages = {True: [], False: []}  # type: dict[bool, list[int]]
    for post, event in good_raw(made):
        ages[post.late].append(post.at - at(event))
    assert planted(made.posts).late == len(ages[True]) > 0
    assert min(ages[True]) > 30 * HOUR
    assert max(ages[False]) < HOUR


def test_malformed_records_are_planted_on_both_topics_and_counted_by_reason(made: History) -> None:
    bad = [post for post in made.posts if post.dead_letter is not None]
    assert planted(made.posts).malformed == Counter((post.topic, post.dead_letter) for post in bad)
    assert {Topic.RAW, Topic.EVENTS} == {post.topic for post in bad}
    assert len({post.dead_letter for post in bad}) >= 6


def test_what_was_not_published_was_not_planted(made: History) -> None:
    half = planted(made.posts[: len(made.posts) // 2])
    assert 0 < half.malformed.total() < planted(made.posts).malformed.total()


def test_company_events_are_understood_and_malformed_ones_rejected_for_the_planted_reason(made: History) -> None:
    for post in made.posts:
        if post.topic == Topic.EVENTS:
            read = read_event(post.value, broker_time=NOW)
            assert post.dead_letter == (read.reason if isinstance(read, Rejected) else None)


def test_every_raw_body_is_understood_and_malformed_ones_rejected_for_the_planted_reason(made: History) -> None:
    processor = NormaliseProcessor({}, b"0123456789abcdef")
    for number, post in enumerate(made.posts):
        if post.topic == Topic.RAW:
            record = Record(Topic.RAW, 0, number, NOW, post.key, post.value, post.headers)
            counts = processor.plan(0, 1, [record], number + 1).counts
            rejected = {} if post.dead_letter is None else {("events_dead_lettered_total", post.dead_letter): 1}
            assert post.parts == counts["parts_total", "in"]
            assert rejected == {key: n for key, n in counts.items() if key[0] == "events_dead_lettered_total"}
            assert post.parts == counts["parts_total", "event"] + len(rejected)


def test_traffic_goes_on_after_the_history() -> None:
    posts = list(islice(onward(7, NOW), 500))
    assert posts == list(islice(onward(7, NOW), 500))
    assert all(a.at <= b.at for a, b in pairwise(posts))
    assert {Topic.RAW, Topic.EVENTS} == {post.topic for post in posts}
    assert 60 * MICROS < posts[-1].at - NOW < 300 * MICROS
