"""Conditions in words: every kind, every option, and brackets where they are needed."""

from __future__ import annotations

import pytest

from stagepost.journey.parse import parse_journey
from stagepost.journey.wording import words_of


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("order.completed", "order.completed"),
        (
            "{event: a.b, where: {total: {gt: 0, le: 9.5}, plan: pro}}",
            "a.b where total > 0 and total <= 9.5 and plan = pro",
        ),
        ("{event: a.b, where: {x: {in: [1, y]}, z: {exists: false}}}", "a.b where x in 1, y and z is missing"),
        ("{event: a.b, where: {x: {prefix: pro}, z: true}}", "a.b where x prefix pro and z = true"),
        ("{event: a.b, campaign: n-*, after_send: 24h}", "a.b, within 1d after a send of n-*"),
        ("{event: a.b, campaign: n-*, times: 2}", "a.b, campaign n-*, 2 times"),
        ("{clicked: [one, two], times: 1, within: 3h}", "clicked one or two, 1 time within 3h"),
        ("{clicked: any, times: 3, within: 7d, per: campaign}", "clicked any, 3 times within 1w, per campaign"),
        ("{opened: any}", "opened any"),
        ("{subscribed: news-*}", "subscribed news-*"),
        ("{unsubscribed: {scope: list, id: n}}", "unsubscribed list:n"),
        ("{unsubscribed: any, after_send: 24h}", "unsubscribed any, within 1d after a send"),
        ("{no_click: {sends: 3, grace: 48h}}", "no click in 3 sends, 2d grace"),
        ("{no_click: {sends: 3, grace: 48h, count: sent}}", "no click in 3 sends, delivered or not, 2d grace"),
        ("{quiet: {for: 14d, opens: true}}", "quiet for 2w, opens count"),
        ("{stuck: 90s}", "stuck for 90s"),
        ("{after: 3d}", "3d after the run began"),
        ("{missed: {first: {clicked: one}, then: a.b, within: 5d}}", "clicked one and then no a.b within 5d"),
        ("{any: [{clicked: one, times: 2}, {all: [a.b, {not: c.d}]}]}", "(clicked one, 2 times) or (a.b and not c.d)"),
    ],
)
def test_each_condition_is_said_in_the_words_of_the_file(condition: str, words: str) -> None:
    text = f"journey: j\nlinks: {{one: x.com, two: y.com}}\nstages:\n  - s: {condition}\n"
    journey = parse_journey(text, "j").journey
    assert journey is not None
    assert words == words_of(journey.stages[0].when)
