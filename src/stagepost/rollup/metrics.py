"""One metric window as it is published: counts, rates with denominators, and what nobody can report (design.md 3.4).

The formulas, numerator / denominator, each in the window:
    delivery      delivered / sent
    bounce        bounced of every class / sent
    open          opened.unique.human / delivered
    click         clicked.unique.human / delivered
    unsubscribe   unsubscribed / delivered
    complaint     complained / delivered
Uniques count a contact once per send; that is done where the contact lives. Where one of the scope's providers reports
no ``sent``, the base of delivery and bounce is ``delivered+bounced``. A rate without denominator is left out.
May not contain: thresholds, a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stagepost.events import BIN, MetricScope, MetricWindow, Rate, rfc3339
from stagepost.rollup.windows import Window

PROVIDER = "provider."
"""Prefix of the metric that tells which providers report on a scope; it is no count of anything."""

SPIKE_ONLY = "unsubscribed.spike"
"""Withdrawals without those of administrators: what the detector watches. ``unsubscribed`` is what is published."""

PUBLIC = (
    "sent delivered deferred bounced.hard bounced.soft bounced.block dropped opened opened.human opened.unique "
    "opened.unique.human clicked clicked.human clicked.unique clicked.unique.human unsubscribed complained"
).split()
"""Metrics that are always shown, a zero as 0, or named in ``unavailable``. Others are shown when they are counted."""

NOT_REPORTED: Mapping[str, frozenset[str]] = {
    "sendgrid": frozenset({"bounced.soft"}),
    "mailgun": frozenset(),
    "postmark": frozenset({"sent"}),
    "ses": frozenset(),
    "sparkpost": frozenset(),
    "mandrill": frozenset({"bounced.block"}),
    "brevo": frozenset({"bounced.block"}),
    "mailjet": frozenset({"sent"}),
    "resend": frozenset({"bounced.block"}),
    "mailersend": frozenset({"bounced.block", "dropped"}),
    "mailtrap": frozenset({"sent"}),
}
"""By provider: metrics that none of its events becomes (providers.md 5.2). An unknown one is taken to report all."""

_BOUNCES = ("bounced.hard", "bounced.soft", "bounced.block", "bounced.undetermined")
_OF_DELIVERED = {
    "open": "opened.unique.human",
    "click": "clicked.unique.human",
    "unsubscribe": "unsubscribed",
    "complaint": "complained",
}


def providers_of(life: Mapping[str, int]) -> tuple[str, ...]:
    """Providers that reported anything on a scope with these counts, sorted."""
    return tuple(sorted(name[len(PROVIDER) :] for name in life if name.startswith(PROVIDER)))


def unavailable(life: Mapping[str, int]) -> tuple[str, ...]:
    """Public metrics that none of the scope's providers reports, from the counts of the scope's life.

    A metric that was counted all the same is available: somebody else published it.
    """
    providers = providers_of(life)
    if not providers:
        return ()
    silent = frozenset.intersection(*(NOT_REPORTED.get(provider, frozenset()) for provider in providers))
    return tuple(name for name in PUBLIC if name in silent and not life.get(name))


def metric_window(
    scope: MetricScope,
    window: Window,
    start: int,
    counts: Mapping[str, int],
    life: Mapping[str, int],
    *,
    rev: int,
    final: bool,
    watermark: int | None,
) -> MetricWindow:
    """The record of one window. ``counts`` are the window's, ``life`` those of the scope's life."""
    end = window.end_of(start)
    absent = unavailable(life)
    return MetricWindow(
        scope=scope,
        window=window.name,
        start=rfc3339(start * BIN),
        end=None if end is None else rfc3339(end),
        rev=rev,
        final=final,
        watermark=None if watermark is None else rfc3339(watermark),
        counts=_shown(counts, absent),
        rates=rates_of(counts, life),
        unavailable=absent,
    )


def rates_of(counts: Mapping[str, int], life: Mapping[str, int]) -> dict[str, Rate]:
    """The rates of a window with these counts, in a scope whose life has those."""
    absent, providers = unavailable(life), providers_of(life)
    delivered = counts.get("delivered", 0)
    bounced = sum(counts.get(name, 0) for name in _BOUNCES)
    if any("sent" in NOT_REPORTED.get(provider, ()) for provider in providers):
        attempted, base = delivered + bounced, "delivered+bounced"
    else:
        attempted, base = counts.get("sent", 0), "sent"
    rates = {}
    if attempted:
        rates = {"delivery": Rate(delivered, attempted, base), "bounce": Rate(bounced, attempted, base)}
    for name, metric in _OF_DELIVERED.items():
        if delivered and metric not in absent:
            rates[name] = Rate(counts.get(metric, 0), delivered, "delivered")
    return rates


def _shown(counts: Mapping[str, int], absent: Collection[str]) -> dict[str, int]:
    shown = {name: counts.get(name, 0) for name in PUBLIC if name not in absent}
    for name in sorted(counts):
        if name not in shown and not name.startswith(PROVIDER) and name != SPIKE_ONLY:
            shown[name] = counts[name]
    return shown
