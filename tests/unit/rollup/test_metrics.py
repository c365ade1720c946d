"""The published form of a window: formulas, denominators, and what nobody can report."""

from __future__ import annotations

import pytest

from stagepost.events import BIN, MetricScope, MetricWindow, Rate, encode_json, parse_rfc3339
from stagepost.rollup.metrics import NOT_REPORTED, PUBLIC, metric_window, providers_of, rates_of, unavailable
from stagepost.rollup.windows import BY_NAME

NINE = parse_rfc3339("2026-11-02T09:00:00Z") // BIN

COUNTS = {
    "sent": 1200,
    "delivered": 1180,
    "deferred": 9,
    "bounced.hard": 6,
    "bounced.soft": 2,
    "bounced.block": 1,
    "dropped": 11,
    "opened": 700,
    "opened.human": 310,
    "opened.unique": 520,
    "opened.unique.human": 280,
    "clicked": 90,
    "clicked.human": 61,
    "clicked.unique": 70,
    "clicked.unique.human": 48,
    "unsubscribed": 4,
    "complained": 1,
}
"""The example of design.md 3.4."""


def window(counts: dict[str, int], life: dict[str, int] | None = None, watermark: int | None = 0) -> MetricWindow:
    return metric_window(
        MetricScope("campaign", "nurture-3"),
        BY_NAME["1h"],
        NINE,
        counts,
        counts if life is None else life,
        rev=3,
        final=False,
        watermark=watermark,
    )


def test_a_window_is_published_as_specified() -> None:
    record = window({**COUNTS, "provider.ses": 9}, watermark=NINE * BIN + 1000)
    assert (
        MetricWindow(
            scope=MetricScope("campaign", "nurture-3"),
            window="1h",
            start="2026-11-02T09:00:00.000Z",
            end="2026-11-02T10:00:00.000Z",
            rev=3,
            final=False,
            watermark="2026-11-02T09:00:00.001Z",
            counts=COUNTS,
            rates={
                "delivery": Rate(1180, 1200, "sent"),
                "bounce": Rate(9, 1200, "sent"),
                "open": Rate(280, 1180, "delivered"),
                "click": Rate(48, 1180, "delivered"),
                "unsubscribe": Rate(4, 1180, "delivered"),
                "complaint": Rate(1, 1180, "delivered"),
            },
            unavailable=(),
        )
        == record
    )
    assert encode_json(record).startswith(b'{"scope":{"type":"campaign","id":"nurture-3"},"window":"1h","start":"2026')


def test_a_zero_is_shown_as_zero_and_what_nobody_reports_not_at_all() -> None:
    record = window({"delivered": 10, "provider.postmark": 10})
    assert (("sent",), 10, 0) == (record.unavailable, record.counts["delivered"], record.counts["complained"])
    assert set(PUBLIC) - {"sent"} == record.counts.keys()
    assert Rate(0, 10, "delivered") == record.rates["complaint"]


@pytest.mark.parametrize(
    ("life", "absent"),
    [
        ({}, ()),
        ({"provider.postmark": 1}, ("sent",)),
        ({"provider.mailjet": 1, "provider.postmark": 1}, ("sent",)),
        ({"provider.sendgrid": 1, "provider.postmark": 1}, ()),
        ({"provider.sendgrid": 1}, ("bounced.soft",)),
        ({"provider.mailersend": 1}, ("bounced.block", "dropped")),
        ({"provider.mailtrap": 1}, ("sent",)),
        ({"provider.postmark": 1, "provider.homemade": 1}, ()),
        ({"provider.postmark": 1, "sent": 3}, ()),
    ],
)
def test_a_metric_is_unavailable_when_none_of_the_scopes_providers_reports_it(
    life: dict[str, int], absent: tuple[str, ...]
) -> None:
    assert absent == unavailable(life)


def test_without_sent_the_base_of_delivery_and_bounce_is_delivered_and_bounced() -> None:
    life = {"provider.postmark": 1, "provider.sendgrid": 1}
    rates = rates_of({"sent": 5, "delivered": 90, "bounced.hard": 6, "bounced.undetermined": 4}, life)
    assert Rate(90, 100, "delivered+bounced") == rates["delivery"]
    assert Rate(10, 100, "delivered+bounced") == rates["bounce"]


def test_a_rate_without_denominator_is_left_out() -> None:
    assert {} == rates_of({"clicked.unique.human": 3}, {})
    assert {"delivery", "bounce"} == rates_of({"sent": 3}, {}).keys()


def test_what_tells_providers_and_what_only_the_detector_reads_is_no_count() -> None:
    record = window({"unsubscribed": 2, "unsubscribed.spike": 1, "provider.ses": 4, "complained.by_send": 3})
    assert {*PUBLIC, "complained.by_send"} == record.counts.keys()
    assert 3 == record.counts["complained.by_send"]


def test_without_a_watermark_none_is_told() -> None:
    assert None is window(COUNTS, watermark=None).watermark


def test_the_life_of_a_scope_has_no_end() -> None:
    record = metric_window(
        MetricScope("campaign", "a"), BY_NAME["all"], 0, COUNTS, COUNTS, rev=1, final=False, watermark=0
    )
    assert ("1970-01-01T00:00:00.000Z", None) == (record.start, record.end)


def test_providers_are_told_in_order() -> None:
    assert ("postmark", "ses") == providers_of({"provider.ses": 1, "sent": 1, "provider.postmark": 2})


def test_what_providers_do_not_report_are_public_metrics() -> None:
    assert {name for names in NOT_REPORTED.values() for name in names} <= set(PUBLIC)
