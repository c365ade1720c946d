"""Every metric, declared once: name, kind, labels, meaning. The reference in the documentation is this table.

Labels come from closed sets, or from what the installation itself configures (journeys, stages, topics); never a
contact, an address, a campaign or a message. Names are without their prefix ``stagepost_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from stagepost import __version__

NAMESPACE = "stagepost"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One declaration. ``buckets`` are upper bounds, for histograms only."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Work of one batch, in seconds: from one call to Redis to a transaction near its timeout."""

_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)
"""Delays that data has on its way, in seconds: providers report minutes, at times a day, late."""

_RECORDS = (1.0, 5.0, 20.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, Kind.COUNTER, tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, Kind.GAUGE, tuple(labels.split()), meaning)


def _histogram(name: str, labels: str, buckets: tuple[float, ...], meaning: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, tuple(labels.split()), meaning, buckets)


METRICS: tuple[Metric, ...] = (
    # The sums of design.md 6. Counted when the transaction is committed, so a batch that is run again counts once.
    _counter("parts_total", "outcome", "normalise: parts of bodies; in = event + rejected + no_event"),
    _counter("events_in_total", "", "journey: records read; in = applied + skipped + dead-lettered + rerouted"),
    _counter("events_consumed_total", "topic provider type", "Understood events by provider and type"),
    _counter("events_applied_total", "", "journey: events that were folded into their contact"),
    _counter("events_skipped_total", "reason", "journey: events without effect: duplicate, late, suppressed, test"),
    _counter("events_dead_lettered_total", "reason", "Records or parts sent to a dead-letter topic, by closed reason"),
    _counter("events_rerouted_total", "", "journey: events produced again to the partition or key where they belong"),
    _gauge("accounting_difference", "", "In minus the sum of its classes; anything but 0 is a lost or doubled event"),
    # What was found in the events.
    _counter("machine_events_total", "provider type", "Opens and clicks that a machine made, not the person"),
    _counter("signature_checks_total", "provider result", "Signature checks of webhooks: valid, invalid, none"),
    # What became of the contacts.
    _counter("transitions_total", "journey from to", "Moves between stages; from is empty on the first"),
    _counter("moves_total", "journey kind", "The same moves by kind: enter, advance, setback, recover, stall..."),
    _counter("hot_contacts_total", "", "Contacts that moved 30 times within a minute of event time: a loop, or a test"),
    _counter("consent_refused_total", "journey", "Entries refused for lack of consent; outside the accounting sum"),
    _gauge(
        "contacts",
        "journey stage",
        "Contacts now in a stage, in the partitions of this worker; from when all are counted",
    ),
    _gauge("stalled_contacts", "journey stage", "Of these, contacts that stalled there"),
    # How fast.
    _histogram("batch_records", "", _RECORDS, "Records in one transaction"),
    _histogram("batch_duration_seconds", "", _SHORT, "From the last poll of a batch to its commit"),
    _histogram("event_to_transition_seconds", "", _LONG, "From the event's own time to the commit of its move"),
    _histogram("state_operation_duration_seconds", "op", _SHORT, "Calls to Redis: read, apply, restore, timers"),
    # The mirror in Redis.
    _gauge("mirror_staleness_seconds", "partition", "Age of the newest batch that Redis does not have yet; 0: none"),
    _counter("mirror_refusals_total", "reason", "Reads and applies refused: gap, nonce, seq, partial, listing"),
    _histogram("restore_duration_seconds", "", _LONG, "From the assignment of a partition to its first batch"),
    # Transactions and their hazards.
    _counter("transactions_total", "result", "committed, aborted, unknown (settled afterwards)"),
    _counter("fenced_total", "", "Batches that were not ours to commit any more, or by another producer's fence"),
    _counter(
        "producers_replaced_total",
        "reason",
        "New ones: slow_commit slow_abort retriable disconnect refused fatal fenced unknown",
    ),
    _gauge(
        "stable_offset_lag_records", "topic partition", "High watermark minus last stable offset: open transactions"
    ),
    _gauge(
        "stable_offset_age_seconds", "topic partition", "How long the last stable offset has not moved while behind"
    ),
    # How far behind.
    _gauge("consumer_lag_records", "topic partition", "Records not yet committed; -1: nothing was ever committed"),
    _gauge("consumer_lag_seconds", "topic partition", "Age of the oldest record not yet committed; -1 as above"),
    _gauge("last_record_processed_timestamp_seconds", "topic partition", "Broker time of the last committed record"),
    _counter("rebalances_total", "", "Changes of the assignment"),
    _gauge("assigned_partitions", "", "Partitions that this process owns"),
    # Timers and event time.
    _gauge("timers_due", "", "Contacts with a timer that the clock has passed and no transaction has fired yet"),
    _counter("clock_jumps_total", "kind", "Batches at which the broker's time was back, or ahead of ours, by a minute"),
    _histogram("timer_delay_seconds", "", _LONG, "Partition clock at firing minus due time"),
    _counter(
        "tally_batches_total", "result", "rollup: batches: next, gap (earlier ones missing), duplicate, malformed"
    ),
    _counter("tally_late_total", "window", "rollup: counts that came when windows of this length no longer took them"),
    _gauge("tally_watermark_seconds", "", "rollup: event time up to which all partitions have reported, as Unix time"),
    # Alerts.
    _counter("alerts_total", "alert severity", "Incidents opened"),
    _gauge("alert_active", "alert", "Incidents now firing"),
    _counter("notifications_total", "channel result", "Deliveries to receivers: sent, failed, given_up"),
    # The bridge.
    _counter(
        "bridge_posts_total",
        "provider result",
        "bridge: posts: accepted, refused, oversize, unavailable, unknown (of no provider, or no configured account)",
    ),
    _histogram("bridge_confirmation_seconds", "", _SHORT, "bridge: from a post's last byte to the cluster's word"),
    # What runs here.
    _gauge("build_info", "version", "1, with the version of stagepost"),
    _gauge("journey_info", "journey version", "1 for every active definition"),
)

_CLASSES_OF_EVENTS = (
    "events_applied_total",
    "events_skipped_total",
    "events_dead_lettered_total",
    "events_rerouted_total",
)
"""Every event that ``journey`` read is in exactly one of these."""


class Metrics:
    """The metrics of one process. Safe to use from several threads; a wrong name or label count raises ``KeyError`` or
    ``ValueError``, as it is a mistake of ours."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            self._declare(metric)
        self.set("build_info", 1, __version__)

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        """Add what a committed Plan counted: (name, label values...) to a number. Updates ``accounting_difference``."""
        for (name, *labels), number in counts.items():
            counter = self._counters[name]
            (counter.labels(*labels) if labels else counter).inc(number)
        self.set("accounting_difference", self._difference())

    def count(self, name: str, *labels: str) -> None:
        """One more of a counter."""
        self.add({(name, *labels): 1})

    def set(self, name: str, value: float, *labels: str) -> None:
        """The value of a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """One value of a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def forget(self, name: str, *labels: str) -> None:
        """Take back a gauge with these labels: of a partition that was given up. Unset ones are passed over."""
        self._gauges[name].remove(*labels)

    def total(self, name: str, **labels: str) -> float:
        """Sum of a counter or gauge over all label values that fit ``labels``."""
        metric = self._counters.get(name) or self._gauges[name]
        samples = [sample for family in metric.collect() for sample in family.samples]
        return sum(
            sample.value
            for sample in samples
            if not sample.name.endswith("_created") and labels.items() <= sample.labels.items()
        )

    def render(self) -> bytes:
        """The text that Prometheus reads; its type is ``CONTENT_TYPE``."""
        return generate_latest(self.registry)

    def _declare(self, metric: Metric) -> None:
        name, meaning, labels = metric.name, metric.meaning, metric.labels
        match metric.kind:
            case Kind.COUNTER:
                self._counters[name] = Counter(name, meaning, labels, NAMESPACE, registry=self.registry)
            case Kind.GAUGE:
                self._gauges[name] = Gauge(name, meaning, labels, NAMESPACE, registry=self.registry)
            case Kind.HISTOGRAM:
                self._histograms[name] = Histogram(
                    name, meaning, labels, NAMESPACE, registry=self.registry, buckets=metric.buckets
                )

    def _difference(self) -> float:
        """Of whichever role this is: only one of the two sums has a total."""
        read = self.total("events_in_total")
        if not read:
            parts = self.total("parts_total", outcome="in")
            return parts - (self.total("parts_total") - parts)
        return read - sum(self.total(name) for name in _CLASSES_OF_EVENTS)
