from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.scenarios.story import START, Partition, click, event, flat, sent, span

from stagepost.events import DAY
from stagepost.journey.result import Count
from stagepost.journey.state import CLICKED_HUMAN, MACHINE, SENDS, send_key

SEND = {"campaign": "x", "message": "m"}


def counts(*events: Any, until: str | None = None) -> list[Count]:
    partition = Partition()
    partition.batch(flat(events), until=START + span(until) if until else None)
    return [count for _, step in partition.steps for count in step.counts]


def metrics(*events: Any, until: str | None = None) -> dict[str, int]:
    return dict(Counter(count.metric for count in counts(*events, until=until)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (sent("1d", "x"), {"sent": 1, "delivered": 1}),
        ([event("1d", "email.deferred", **SEND), event("1d", "email.dropped", **SEND)], {"deferred": 1, "dropped": 1}),
        ([event("1d", "email.bounced", bounce_class="soft", **SEND)], {"bounced.soft": 1}),
        ([event("1d", "email.bounced", **SEND)], {"bounced.undetermined": 1}),
        ([event("1d", "email.opened", machine=True, **SEND)], {"opened": 1, "opened.unique": 1}),
        (
            [event("1d", "email.opened", machine=None, **SEND), event("2d", "email.opened", **SEND)],
            {"opened": 2, "opened.human": 2, "opened.unique": 1, "opened.unique.human": 1},
        ),
        (
            [event("1d", "email.opened", recipient_certainty="candidate", **SEND)],
            {"opened": 1, "opened.unique": 1},
        ),
        (
            [click("1d", **SEND), click("2d", **SEND), click("3d", machine=True, **SEND)],
            {"clicked": 3, "clicked.human": 2, "clicked.unique": 1, "clicked.unique.human": 1},
        ),
        ([click("1d", variant="unique", **SEND)], {"clicked.unique": 1, "clicked.unique.human": 1}),
        (
            [click("1d", variant="unique", **SEND), click("1d", **SEND)],
            {"clicked.unique": 1, "clicked.unique.human": 1, "clicked": 1, "clicked.human": 1},
        ),
        ([click("1d", test=True, **SEND), event("1d", "page.seen")], {}),
    ],
)
def test_what_an_event_counts(given: list[Any], expected: dict[str, int]) -> None:
    assert expected == metrics(*given)


def test_uniques_count_once_per_send_in_the_window_of_the_first() -> None:
    events = [click("1d", **SEND), click("2d", campaign="x", message="m2"), click("3d", **SEND)]

    assert [START + DAY, START + 2 * DAY] == [c.at for c in counts(*events) if c.metric == "clicked.unique"]


def test_a_held_click_counts_as_human_at_its_own_time_once_it_was_judged() -> None:
    events = [sent("1d", "x", "m"), click("1d1m", machine=None, **SEND)]

    assert "clicked.human" not in metrics(*events)
    [human] = [c for c in counts(*events, until="2d") if c.metric == "clicked.human"]
    assert Count("clicked.human", START + span("1d1m"), "x", "m") == human


def test_a_click_that_a_machine_made_is_marked_on_its_send_and_never_human() -> None:
    partition = Partition()
    partition.batch(flat([sent("1d", "x", "m"), click("1d1s", machine=None, **SEND)]), until=START + 2 * DAY)

    state = partition.states["c"]
    assert state is not None
    flags = state.sends[send_key("x", "m")].flags
    assert (MACHINE, 0) == (flags & MACHINE, flags & CLICKED_HUMAN)


def test_complaints_count_once_per_message_and_by_the_delivery_of_the_send() -> None:
    events = [
        sent("1d", "x", "m"),
        event("3d", "email.complained", **SEND),
        event("4d", "email.complained", **SEND),
        event("4d", "email.complained", campaign="y", message="never-heard-of"),
    ]

    assert [
        ("complained", 3, "x"),
        ("complained.by_send", 1, "x"),
        ("complained", 4, "y"),
        ("complained.by_send.unknown", 4, "y"),
    ] == [(c.metric, (c.at - START) // DAY, c.campaign) for c in counts(*events) if "complained" in c.metric]


def test_hard_bounces_count_by_send_too() -> None:
    bounce = event("2d", "email.bounced", bounce_class="hard", **SEND)

    assert {"sent": 1, "bounced.hard": 1, "bounced.by_send": 1} == metrics(event("1d", "email.sent", **SEND), bounce)


def test_a_withdrawal_counts_when_it_is_new_and_an_administrators_is_no_spike() -> None:
    events = [
        event("1d", "email.unsubscribed", scope="list:a", method="link", **SEND),
        event("2d", "email.unsubscribed", scope="list:a", method="link", **SEND),
        event("3d", "email.unsubscribed", scope="list:b", method="api", **SEND),
        event("4d", "email.resubscribed", scope="list:a", **SEND),
        event("5d", "email.unsubscribed", scope="list:a", **SEND),
    ]

    assert {"unsubscribed": 3, "unsubscribed.spike": 2} == metrics(*events)


def test_only_the_newest_sends_are_kept() -> None:
    partition = Partition()
    partition.batch(flat([sent(f"{n}d", f"c-{n}") for n in range(SENDS + 5)]))

    state = partition.states["c"]
    assert state is not None
    assert {f"c-{n}" for n in range(5, SENDS + 5)} == {send.campaign for send in state.sends.values()}
