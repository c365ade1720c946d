"""What becomes of a spike: ok -> pending -> firing -> recovering -> resolved, with a reason (alerts.md 5).

    ok, pending, resolved --fires--> firing         on the counts known now, at any bin that got events
    firing <--quiet ends-- / --quiet--> recovering  with the watermark, bin by bin
    recovering --quiet for an hour--> resolved      also by expiry, after a week, or when settled counts undo it

Law: driven by bins of event time only. The same calls with the same counts give the same changes, ids included.
May not contain: the published form (``record.py``), a clock, delivery, what other scopes do (inhibition).
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from stagepost.alerts.spike import WINDOWS_MIN, Baseline, SpikeScan, Verdict

HOUR = 12
"""Bins of an hour."""

LATENESS = 6 * HOUR
"""How late counts may still change an alert's figures (alerts.md 5)."""

PENDING_MARGIN = 3.0
"""Below the threshold by less than this, a key is worth a look (alerts.md 5)."""

_HELD = HOUR
_REPEAT = 4 * HOUR
_REOPEN = 24 * HOUR
_REBASE = 7 * 24 * HOUR
_FORGET = 72 * HOUR
"""After the longest window no window reaches back into an incident that is over."""

_GROWN = 2.0
"""Observed ratio over the last published one that is news."""

_SPENT = 1.0
"""Exposure of 72 h below one delivery: nothing that could react is left."""

_BROAD_SCOPES = frozenset({"sending_domain", "recipient_class", "provider", "account"})
_CRITICAL_RATIO = 5.0
_CRITICAL_EXCESS = 20.0


class Phase(StrEnum):
    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"


class AlertReason(StrEnum):
    """Why an alert record was written: the one closed list for record, metric label and log field."""

    THRESHOLD = "threshold"
    """The spike statistic reached its threshold."""
    POLICY = "policy"
    """An absolute limit is exceeded."""
    ESCALATED = "escalated"
    """Severity rose, or the observed ratio doubled."""
    REPEATED = "repeated"
    """Nothing new, but still firing after 4 h."""
    REVISED = "revised"
    """Counts that came late changed the figures of the firing, or undid it."""
    CLEARED = "cleared"
    """The ratio that fired is refuted for an hour."""
    EXPIRED = "expired"
    """Nothing that could still react is left."""
    REBASED = "rebased"
    """After a week it is the new normal."""
    NO_DATA = "no_data"
    """A source has fallen silent."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Incident(Struct, frozen=True, kw_only=True):
    """One incident of a key. All times are bins."""

    began_at: int
    """Bin of the first firing; it names the incident."""
    started_at: int
    """Where the window that fired began, or the first delivery if that was later."""
    fired_at: int
    """Bin of the last firing: later than ``began_at`` when the incident was opened again."""
    fired: Verdict
    baseline: Baseline
    """Frozen at the firing."""
    since: int | None
    """End of the incident before, which windows must not reach into."""
    rev: int
    severity: Severity
    said_at: int
    """Bin of the newest change."""
    said_ratio: float
    """Observed ratio of the newest change."""
    stepped_to: int
    """Last bin that the watermark has passed."""
    quiet_since: int | None = None
    settled: bool = False
    """Whether the firing was judged again on settled counts."""
    resolved_at: int | None = None

    @property
    def live(self) -> bool:
        return self.resolved_at is None


class Alarm(Struct, frozen=True):
    """The machine of one key: its phase and its newest incident."""

    phase: Phase = Phase.OK
    incident: Incident | None = None

    @property
    def waits(self) -> bool:
        """Whether the watermark has something to decide."""
        return self.incident is not None and (self.incident.live or not self.incident.settled)


class Change(Struct, frozen=True):
    """Something to tell. ``bin`` is the last one that was looked at for ``verdict``."""

    status: Phase
    """FIRING or RESOLVED: what receivers know."""
    reason: AlertReason
    incident: Incident
    verdict: Verdict
    bin: int


def severity_of(verdict: Verdict, scope_type: str) -> Severity:
    """A spike is a warning; on a scope that many campaigns share, a large one is critical."""
    large = verdict.ratio_observed >= _CRITICAL_RATIO and verdict.excess >= _CRITICAL_EXCESS
    return Severity.CRITICAL if large and scope_type in _BROAD_SCOPES else Severity.WARNING


def judge(alarm: Alarm, scan: SpikeScan, bin: int, scope_type: str) -> tuple[Alarm, Change | None]:
    """Look at a bin that got events, now; at most one change: a firing, or an escalation.

    A bin that lies within an incident already over, or before what was last told, changes nothing. The scan's excluded
    spans are kept in step.
    """
    incident = alarm.incident
    if incident is not None and incident.live:
        return _escalate(alarm, incident, scan, bin, scope_type)
    over = incident.resolved_at if incident is not None else None
    if over is not None and bin <= over:
        return alarm, None
    if over is not None and incident is not None and incident.settled and bin > over + _FORGET:
        alarm, incident, over = Alarm(), None, None
    baseline = scan.baseline(bin)
    verdict = scan.statistic(bin, baseline, since=over)
    if verdict.fires:
        return _fire(incident, scan, bin, verdict, baseline, scope_type)
    near = verdict.llr >= scan.threshold - PENDING_MARGIN
    calm = Phase.OK if incident is None else Phase.RESOLVED
    return replace(alarm, phase=Phase.PENDING if near else calm), None


def advance(alarm: Alarm, scan: SpikeScan, to: int, scope_type: str) -> tuple[Alarm, tuple[Change, ...]]:
    """Take the machine through all bins up to and including ``to``, which the watermark has passed."""
    changes: list[Change] = []
    while alarm.waits and alarm.incident is not None and alarm.incident.stepped_to < to:
        at = alarm.incident.stepped_to + 1
        alarm = replace(alarm, incident=replace(alarm.incident, stepped_to=at))
        alarm, settled = _settle(alarm, scan, at)
        changes += settled
        if alarm.incident is not None and alarm.incident.live:
            alarm, stepped = _step(alarm.incident, scan, at, scope_type)
            changes += stepped
    return alarm, tuple(changes)


def _fire(
    before: Incident | None, scan: SpikeScan, bin: int, verdict: Verdict, baseline: Baseline, scope_type: str
) -> tuple[Alarm, Change]:
    over = before.resolved_at if before is not None else None
    begin = bin - WINDOWS_MIN[verdict.window] // 5 + 1
    started = max(begin, scan.first_exposure or begin, begin if over is None else over + 1)
    incident = Incident(
        began_at=bin,
        started_at=started,
        fired_at=bin,
        fired=verdict,
        baseline=baseline,
        since=over,
        rev=1,
        severity=severity_of(verdict, scope_type),
        said_at=bin,
        said_ratio=verdict.ratio_observed,
        stepped_to=bin,
    )
    if before is not None and over is not None and bin <= over + _REOPEN:
        incident = replace(incident, began_at=before.began_at, started_at=before.started_at, rev=before.rev + 1)
    scan.exclude(started, bin)
    return Alarm(Phase.FIRING, incident), Change(Phase.FIRING, AlertReason.THRESHOLD, incident, verdict, bin)


def _escalate(
    alarm: Alarm, incident: Incident, scan: SpikeScan, bin: int, scope_type: str
) -> tuple[Alarm, Change | None]:
    if bin < incident.said_at:
        return alarm, None
    verdict = scan.statistic(bin, incident.baseline, since=incident.since)
    worse = _RANK[severity_of(verdict, scope_type)] > _RANK[incident.severity]
    grown = verdict.fires and verdict.ratio_observed >= _GROWN * incident.said_ratio
    if not (worse or grown):
        return alarm, None
    change = _tell(incident, AlertReason.ESCALATED, verdict, bin, scope_type)
    return replace(alarm, incident=change.incident), change


def _settle(alarm: Alarm, scan: SpikeScan, at: int) -> tuple[Alarm, tuple[Change, ...]]:
    """Judge the firing again once, when no count of it can come late any more."""
    incident = alarm.incident
    if incident is None or incident.settled or at < incident.fired_at + LATENESS:
        return alarm, ()
    incident = replace(incident, settled=True)
    verdict = scan.statistic(incident.fired_at, incident.baseline, since=incident.since)
    # A watermark more than a day behind the newest counts: that bin cannot be asked for any more.
    out_of_reach = scan.newest is not None and incident.fired_at < scan.newest - 24 * HOUR
    if out_of_reach or verdict == incident.fired:
        return replace(alarm, incident=incident), ()
    if incident.live and not verdict.fires:
        scan.admit(incident.started_at, incident.fired_at)
        alarm = replace(alarm, phase=Phase.RESOLVED)
        incident = replace(incident, resolved_at=at)
    incident = replace(incident, fired=verdict, rev=incident.rev + 1, said_at=max(incident.said_at, incident.fired_at))
    status = Phase.FIRING if incident.live else Phase.RESOLVED
    change = Change(status, AlertReason.REVISED, incident, verdict, incident.fired_at)
    return replace(alarm, incident=incident), (change,)


def _step(incident: Incident, scan: SpikeScan, at: int, scope_type: str) -> tuple[Alarm, tuple[Change, ...]]:
    scan.exclude(incident.started_at, at)
    if at >= incident.fired_at + _REBASE:
        # The span enters the baseline: what has lasted a week is the new normal.
        scan.admit(incident.started_at, at)
        return _resolve(incident, scan, at, AlertReason.REBASED)
    if scan.exposed(at) < _SPENT:
        return _resolve(incident, scan, at, AlertReason.EXPIRED)
    if scan.cleared(at, incident.baseline, incident.fired.ratio):
        since = incident.quiet_since if incident.quiet_since is not None else at
        if at - since >= _HELD:
            return _resolve(incident, scan, at, AlertReason.CLEARED)
        return Alarm(Phase.RECOVERING, replace(incident, quiet_since=since)), ()
    incident = replace(incident, quiet_since=None)
    if at - incident.said_at < _REPEAT:
        return Alarm(Phase.FIRING, incident), ()
    verdict = scan.statistic(at, incident.baseline, since=incident.since)
    change = _tell(incident, AlertReason.REPEATED, verdict, at, scope_type)
    return Alarm(Phase.FIRING, change.incident), (change,)


def _tell(incident: Incident, reason: AlertReason, verdict: Verdict, bin: int, scope_type: str) -> Change:
    severity = max(incident.severity, severity_of(verdict, scope_type), key=_RANK.__getitem__)
    incident = replace(
        incident, rev=incident.rev + 1, severity=severity, said_at=bin, said_ratio=verdict.ratio_observed
    )
    return Change(Phase.FIRING, reason, incident, verdict, bin)


def _resolve(incident: Incident, scan: SpikeScan, at: int, reason: AlertReason) -> tuple[Alarm, tuple[Change, ...]]:
    verdict = scan.statistic(at, incident.baseline, since=incident.since)
    incident = replace(incident, rev=incident.rev + 1, said_at=at, resolved_at=at, quiet_since=None)
    return Alarm(Phase.RESOLVED, incident), (Change(Phase.RESOLVED, reason, incident, verdict, at),)
