"""The table of metrics is the reference: complete, well named, and what a Plan counts fits into it."""

from __future__ import annotations

import re

import pytest

from stagepost import __version__
from stagepost.edges.metrics import METRICS, Kind, Metrics

DOCUMENTED = """
events_consumed_total{topic,provider,type} events_applied_total events_skipped_total{reason}
events_dead_lettered_total{reason} accounting_difference machine_events_total{provider,type}
signature_checks_total{provider,result} transitions_total{journey,from,to} contacts{journey,stage}
stalled_contacts{journey,stage} batch_records batch_duration_seconds event_to_transition_seconds
state_operation_duration_seconds{op} mirror_staleness_seconds{partition} mirror_refusals_total{reason}
restore_duration_seconds transactions_total{result} fenced_total producers_replaced_total{reason}
stable_offset_lag_records{topic,partition} stable_offset_age_seconds{topic,partition}
consumer_lag_records{topic,partition} consumer_lag_seconds{topic,partition}
last_record_processed_timestamp_seconds{topic,partition} rebalances_total assigned_partitions timers_due
timer_delay_seconds tally_watermark_seconds alerts_total{alert,severity} alert_active{alert}
notifications_total{channel,result} build_info{version} journey_info{journey,version}
""".split()


def signature(name: str, labels: tuple[str, ...]) -> str:
    return name + (f"{{{','.join(labels)}}}" if labels else "")


def test_every_documented_metric_is_declared_with_its_labels() -> None:
    assert set() == set(DOCUMENTED) - {signature(metric.name, metric.labels) for metric in METRICS}


def test_no_label_can_hold_what_identifies_a_person_or_a_message() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert set() == labels & {"contact", "recipient", "address", "campaign", "message", "url"}


def test_counters_alone_end_in_total_and_each_name_is_declared_once() -> None:
    assert [metric.name for metric in METRICS if metric.name.endswith("_total")] == [
        metric.name for metric in METRICS if metric.kind is Kind.COUNTER
    ]
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_counts_of_a_plan_are_added_under_our_prefix() -> None:
    metrics = Metrics()
    counts = {("transitions_total", "nurture", "", "engaged"): 2, ("events_in_total",): 2, ("events_applied_total",): 2}
    metrics.add(counts)
    metrics.add(counts)
    text = metrics.render().decode()
    assert 'stagepost_transitions_total{from="",journey="nurture",to="engaged"} 4.0' in text
    assert "stagepost_events_in_total 4.0" in text
    assert f'stagepost_build_info{{version="{__version__}"}} 1.0' in text
    assert "# HELP stagepost_accounting_difference In minus the sum of its classes" in text


def test_a_total_is_summed_over_the_labels_that_were_not_named() -> None:
    metrics = Metrics()
    metrics.add({("events_skipped_total", "late"): 2, ("events_skipped_total", "duplicate"): 3})
    assert (5, 2) == (metrics.total("events_skipped_total"), metrics.total("events_skipped_total", reason="late"))


@pytest.mark.parametrize(
    ("counts", "difference"),
    [
        ({("parts_total", "in"): 5, ("parts_total", "event"): 3, ("parts_total", "rejected"): 2}, 0),
        ({("parts_total", "in"): 5, ("parts_total", "event"): 3, ("parts_total", "no_event"): 1}, 1),
        (
            {
                ("events_in_total",): 10,
                ("events_applied_total",): 4,
                ("events_skipped_total", "late"): 3,
                ("events_dead_lettered_total", "schema"): 2,
                ("events_rerouted_total",): 1,
            },
            0,
        ),
        ({("events_in_total",): 1, ("events_applied_total",): 2}, -1),
    ],
)
def test_the_accounting_of_each_role_closes_or_shows_by_how_much_not(
    counts: dict[tuple[str, ...], int], difference: int
) -> None:
    metrics = Metrics()
    metrics.add(counts)
    assert difference == metrics.total("accounting_difference")


def test_gauges_of_a_partition_can_be_taken_back() -> None:
    metrics = Metrics()
    metrics.set("consumer_lag_records", 7, "email.events", "3")
    assert b'stagepost_consumer_lag_records{partition="3",topic="email.events"} 7.0' in metrics.render()
    metrics.forget("consumer_lag_records", "email.events", "3")
    metrics.forget("consumer_lag_records", "email.events", "4")
    assert b"stagepost_consumer_lag_records{" not in metrics.render()


def test_a_histogram_counts_into_its_buckets() -> None:
    metrics = Metrics()
    metrics.observe("state_operation_duration_seconds", 0.02, "apply")
    text = metrics.render().decode()
    assert re.search(r'stagepost_state_operation_duration_seconds_bucket\{le="0.01",op="apply"\} 0.0', text)
    assert re.search(r'stagepost_state_operation_duration_seconds_bucket\{le="0.025",op="apply"\} 1.0', text)


@pytest.mark.parametrize("key", [("nonsense_total",), ("contacts", "j", "s"), ("events_in_total", "extra")])
def test_what_is_not_declared_as_a_counter_cannot_be_counted(key: tuple[str, ...]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Metrics().add({key: 1})
