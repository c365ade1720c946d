from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from stagepost.bench import stream
from stagepost.events import parse_rfc3339
from stagepost.journey.definition import Journey


def test_the_same_seed_gives_the_same_events_and_another_gives_others() -> None:
    assert stream.events(300, 50, 7) == stream.events(300, 50, 7)
    assert stream.events(300, 50, 7) != stream.events(300, 50, 8)


def test_events_are_of_the_kinds_and_repeats_that_the_mix_asks_for() -> None:
    events = stream.events(20_000, 500, 1)
    kinds = Counter(event.type for event in events)
    assert set(kinds) == {
        "email.sent",
        "email.delivered",
        "email.opened",
        "email.clicked",
        "product.viewed",
        "order.completed",
    }
    repeats = len(events) - len({event.id for event in events})
    assert 0.01 < repeats / len(events) < 0.04


def test_a_click_has_the_size_that_it_has_in_the_field() -> None:
    clicks = [event for event in stream.events(2_000, 50, 1) if event.type == "email.clicked"]
    sizes = [len(value) for value in stream.encoded(clicks)]
    assert 700 < sum(sizes) / len(sizes) < 1_000


def test_events_of_a_batch_arrive_in_the_order_of_their_times() -> None:
    times = [parse_rfc3339(event.occurred_at) for event in stream.events(1_000, 50, 1) if event.provider]
    late = sum(1 for before, after in pairwise(times) if after < before)
    assert late < 30  # repeats inside a batch, nothing else


@pytest.mark.parametrize("conditions", [5, 6, 50, 500])
def test_a_journey_has_as_many_conditions_as_it_says(conditions: int) -> None:
    assert _conditions(stream.journey(conditions)) == conditions


def test_the_whole_journey_has_five_stages_two_setbacks_and_five_links() -> None:
    journey = stream.whole_journey()
    assert (len(journey.stages), len(journey.setbacks), len(journey.links)) == (5, 2, 5)


def _conditions(journey: Journey) -> int:
    rules = [rule.when for rule in (*journey.stages, *journey.setbacks, *journey.exits)]
    return sum(len(getattr(rule, "parts", (rule,))) for rule in rules) + (journey.recover is not None)
