"""Spikes and broken limits, and what becomes of them: pure functions of additive counts (alerts.md).

What a scan says of a bin is in ``spike``, on sums from ``exposure``; what is done about it in ``lifecycle``; what is
published in ``record``. May not contain: windows of metrics, delivery, a clock.
"""

from stagepost.alerts.curves import DelayCurve
from stagepost.alerts.lifecycle import Alarm, AlertReason, Change, Phase, Severity, advance, judge
from stagepost.alerts.policy import PolicyTest
from stagepost.alerts.prior import Prior, estimate_cv2, estimate_prior, estimate_variance
from stagepost.alerts.record import AlertRecord, AlertScope, Review, Surroundings, spike_record
from stagepost.alerts.spike import Baseline, SpikeScan, Verdict

__all__ = [
    "Alarm",
    "AlertReason",
    "AlertRecord",
    "AlertScope",
    "Baseline",
    "Change",
    "DelayCurve",
    "Phase",
    "PolicyTest",
    "Prior",
    "Review",
    "Severity",
    "SpikeScan",
    "Surroundings",
    "Verdict",
    "advance",
    "estimate_cv2",
    "estimate_prior",
    "estimate_variance",
    "judge",
    "spike_record",
]
