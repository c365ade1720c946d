"""What becomes of a spike, as timelines. Reactions are due at once here, so deliveries are exposure."""

from __future__ import annotations

import pytest

from stagepost.alerts.curves import DelayCurve
from stagepost.alerts.lifecycle import Alarm, AlertReason, Change, Phase, Severity, advance, judge, severity_of
from stagepost.alerts.prior import Prior
from stagepost.alerts.spike import SpikeScan, Verdict

HOUR, DAY = 12, 288
T = 50_000
"""A bin."""


class Story:
    """One campaign: deliveries and complaints by bin, looked at when they come; ``to`` moves the watermark."""

    def __init__(self, scope_type: str = "campaign") -> None:
        self.scan = SpikeScan("complaint", Prior(3.4, 3400.0), {}, curve=DelayCurve((1.0,), (0.001,)))
        self.alarm = Alarm()
        self.scope_type = scope_type
        self.changes: list[Change] = []

    def at(self, bin_: int, delivered: int, events: int) -> Story:
        self.scan.observe(bin_, delivered, events)
        if events:
            self.alarm, change = judge(self.alarm, self.scan, bin_, self.scope_type)
            self.changes += [change] if change is not None else []
        return self

    def to(self, bin_: int) -> Story:
        self.alarm, changes = advance(self.alarm, self.scan, bin_, self.scope_type)
        self.changes += changes
        return self

    @property
    def told(self) -> list[tuple[str, str, int, int]]:
        return [(c.status.value, c.reason.value, c.incident.rev, c.bin - T) for c in self.changes]


def test_a_spike_fires_at_once_and_is_resolved_when_an_hour_was_quiet() -> None:
    story = Story().at(T, 1000, 20)
    assert Phase.FIRING is story.alarm.phase
    story.to(T)
    for hour in range(1, 8):
        story.at(T + hour * HOUR, 3000, 1).to(T + hour * HOUR)
    resolved = story.changes[-1]
    assert ("firing", "threshold", 1, 0) == story.told[0]
    assert ("resolved", "cleared", 2, resolved.bin - T) == story.told[1]
    assert (Phase.RESOLVED, resolved.bin) == (story.alarm.phase, resolved.incident.resolved_at)
    assert HOUR <= resolved.bin - T <= 3 * HOUR


def test_it_recovers_while_it_is_quiet_and_fires_on_when_it_is_not() -> None:
    story = Story().at(T, 1000, 20).at(T + HOUR, 4000, 1).to(T + HOUR)
    assert Phase.RECOVERING is story.alarm.phase
    story.at(T + HOUR + 2, 100, 30).to(T + HOUR + 2)
    assert Phase.FIRING is story.alarm.phase
    assert [("firing", "threshold", 1, 0)] == story.told


def test_near_the_threshold_it_is_pending_and_nothing_is_told() -> None:
    story = Story().at(T, 1000, 11)
    assert (Phase.PENDING, []) == (story.alarm.phase, story.told)
    story.at(T + 5 * HOUR, 20_000, 1)
    assert (Phase.OK, []) == (story.alarm.phase, story.told)


def test_a_doubled_ratio_is_told_at_once_and_the_same_ratio_only_after_four_hours() -> None:
    story = Story().at(T, 1000, 20).at(T + 1, 0, 10)
    assert [("firing", "threshold", 1, 0)] == story.told
    story.at(T + 2, 0, 15)
    assert ("firing", "escalated", 2, 2) == story.told[1]
    story.to(T + 2 + 4 * HOUR)
    assert [("firing", "repeated", 3, 2 + 4 * HOUR)] == story.told[2:]


def test_late_deliveries_change_the_figures_of_the_firing_six_hours_later() -> None:
    story = Story().at(T, 1000, 20).at(T - 1, 500, 0).at(T + 1, 3000, 60).to(T + 6 * HOUR)
    revised = story.changes[-1]
    assert ("firing", "revised", 0) == (revised.status.value, revised.reason.value, revised.bin - T)
    assert pytest.approx(1.5) == revised.verdict.expected
    assert revised.verdict == revised.incident.fired


def test_late_deliveries_can_undo_a_firing() -> None:
    story = Story().at(T, 100, 6).at(T + 1, 100, 6).at(T, 20_000, 0).to(T)
    story.alarm, changes = advance(story.alarm, story.scan, T + 6 * HOUR, "campaign")
    assert [("resolved", "cleared")] == [(c.status.value, c.reason.value) for c in changes[:1]]
    assert [("resolved", "revised", False)] == [(c.status.value, c.reason.value, c.verdict.fires) for c in changes[1:]]
    assert not story.alarm.waits


def test_settled_figures_that_did_not_change_are_not_told() -> None:
    story = Story().at(T, 1000, 20).at(T + 1, 3000, 60).to(T + 3 * HOUR)
    story.to(T + 6 * HOUR)
    assert AlertReason.REVISED not in {change.reason for change in story.changes}
    assert story.alarm.incident is not None
    assert story.alarm.incident.settled


def test_without_anything_left_that_could_react_the_incident_expires() -> None:
    story = Story().at(T, 1000, 20).to(T + 4 * DAY)
    assert ("resolved", "expired") == story.told[-1][:2]
    assert 3 * DAY == story.told[-1][3]


def test_after_a_week_of_firing_it_is_the_new_normal() -> None:
    story = Story()
    for hour in range(7 * 24 + 2):
        story.at(T + hour * HOUR, 1000, 20).to(T + hour * HOUR)
    assert ("resolved", "rebased", 7 * DAY) == (*story.told[-1][:2], story.told[-1][3])
    before, after = story.changes[0].incident.baseline, story.scan.baseline(T + 9 * DAY)
    assert before.rates["1h"].p < 0.002 < 0.015 < after.rates["1h"].p


def test_the_span_of_a_cleared_incident_never_enters_the_baseline() -> None:
    story = Story().at(T, 1000, 20).to(T)
    for hour in range(1, 4 * 24):
        story.at(T + hour * HOUR, 3000, 3).to(T + hour * HOUR)
    assert AlertReason.CLEARED is story.changes[1].reason
    assert pytest.approx(0.001, rel=0.05) == story.scan.baseline(T + 4 * DAY).rates["1h"].p


def test_within_a_day_the_same_incident_is_opened_again_and_later_a_new_one() -> None:
    story = Story().at(T, 1000, 20).to(T)
    for hour in range(1, 10):
        story.at(T + hour * HOUR, 3000, 1).to(T + hour * HOUR)
    first = story.changes[0].incident
    over = story.changes[-1].bin
    story.at(T + 10 * HOUR, 100, 30)
    again = story.changes[-1]
    assert (first.began_at, first.started_at) == (again.incident.began_at, again.incident.started_at)
    assert (story.changes[-2].incident.rev + 1, T + 10 * HOUR) == (again.incident.rev, again.incident.fired_at)
    assert again.incident.since == over
    for hour in range(11, 60):
        story.at(T + hour * HOUR, 3000, 1).to(T + hour * HOUR)
    assert Phase.RESOLVED is story.changes[-1].status
    story.at(T + 60 * HOUR, 100, 40)
    assert (1, T + 60 * HOUR) == (story.changes[-1].incident.rev, story.changes[-1].incident.began_at)


def test_late_events_of_an_incident_that_is_over_open_nothing() -> None:
    story = Story().at(T, 1000, 20).to(T)
    for hour in range(1, 8):
        story.at(T + hour * HOUR, 3000, 1).to(T + hour * HOUR)
    told = list(story.told)
    story.at(T + 1, 0, 30)
    assert told == story.told


def test_an_old_incident_is_forgotten_with_the_next_look() -> None:
    story = Story().at(T, 1000, 20).to(T + 4 * DAY).at(T + 8 * DAY, 1000, 1)
    assert Alarm() == story.alarm


def test_how_the_watermark_moves_changes_nothing() -> None:
    def played(step: int) -> list[Change]:
        story = Story().at(T, 1000, 20).at(T + 1, 500, 40)
        for bin_ in range(T, T + 9 * DAY, step):
            story.to(bin_)
        return story.to(T + 9 * DAY).changes

    assert played(1) == played(7) == played(9 * DAY)


def verdict(ratio: float, excess: float) -> Verdict:
    return Verdict(
        llr=20,
        window="1h",
        ratio=4,
        events=30,
        expected=6,
        ratio_observed=ratio,
        excess=excess,
        delivered=1,
        exposure=1,
        variance=0.1,
        baseline_rate=0.1,
        baseline_events=10,
        fires=True,
    )


@pytest.mark.parametrize(
    ("scope", "ratio", "excess", "severity"),
    [
        ("campaign", 50.0, 500.0, Severity.WARNING),
        ("account", 5.0, 20.0, Severity.CRITICAL),
        ("account", 4.9, 20.0, Severity.WARNING),
        ("sending_domain", 5.0, 19.9, Severity.WARNING),
    ],
)
def test_only_a_large_spike_of_a_scope_that_many_share_is_critical(
    scope: str, ratio: float, excess: float, severity: Severity
) -> None:
    assert severity is severity_of(verdict(ratio, excess), scope)


def test_severity_that_rises_is_told_and_never_falls_within_an_incident() -> None:
    story = Story("account").at(T, 1000, 20).at(T + 1, 0, 3)
    assert (Severity.WARNING, Severity.CRITICAL) == tuple(change.incident.severity for change in story.changes)
    assert AlertReason.ESCALATED is story.changes[-1].reason
