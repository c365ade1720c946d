"""The rollup role as a pure processor: what is written when, what is refused, what is told of an incident."""

from __future__ import annotations

import random
from math import exp, log
from typing import Any

import msgspec
import pytest
from tests.properties.tally_log import FIRST, LATER, START, Worker, batch, campaign

from stagepost.engine import rollup_worker
from stagepost.engine.attempts import deadly
from stagepost.engine.plan import Record, Topic
from stagepost.engine.rollup_state import INPUTS_KEY, unpack_scope
from stagepost.engine.rollup_worker import METRICS_LIMIT, RollupProcessor
from stagepost.events import BIN, DAY, HOUR, MICROS, MetricScope, Tally, rfc3339
from stagepost.rollup.metrics import metric_window

HOURLY = 12


def worker(inputs: int = 1, **changed: Any) -> Worker:
    return Worker(RollupProcessor(event_partitions=inputs, prefix="t.", group="t.g", **changed))


def told(done: Worker, window: str) -> list[tuple[int, bool, int]]:
    """Rev, final and deliveries of each record of a window length."""
    return [(w.rev, w.final, w.counts["delivered"]) for w in done.windows if w.window == window]


def test_a_changed_window_is_written_at_once_and_then_every_30_seconds_of_broker_time() -> None:
    done = worker()
    for offset, (second, n) in enumerate(((0, 1), (10, 2), (29, 4), (30, 8), (31, 16), (60, 0), (95, 0), (96, 32))):
        deltas = [campaign("a", FIRST, "delivered", n)] if n else []
        done.take([batch(offset, 0, offset + 1, START, deltas, at=LATER + second * MICROS)])
    assert [(1, False, 1), (2, False, 15), (3, False, 31), (4, False, 63)] == told(done, "1h")


def test_a_window_is_final_once_when_the_watermark_is_six_hours_past_its_end_and_later_changes_are_new_revs() -> None:
    done = worker()
    done.take([batch(0, 0, 1, START, [campaign("a", FIRST, "delivered", 5)])])
    done.take([batch(1, 0, 2, START + HOUR + 6 * HOUR - 1)])
    assert [(1, False, 5)] == told(done, "1h")
    done.take([batch(2, 0, 3, START + HOUR + 6 * HOUR)])
    done.take([batch(3, 0, 4, START + 9 * HOUR)])
    assert [(1, False, 5), (2, True, 5)] == told(done, "1h")
    assert [(1, False, 5), (2, True, 5)] == told(done, "5m")
    done.take([batch(50, 0, 5, START + 9 * HOUR, [campaign("a", FIRST, "delivered", 1)])])
    assert [(1, False, 5), (2, True, 5), (3, True, 6)] == told(done, "1h")


def test_the_watermark_is_the_slowest_input_and_unknown_while_one_was_never_heard_of() -> None:
    done = worker(inputs=2)
    done.take([batch(0, 0, 1, START + 20 * HOUR, [campaign("a", FIRST, "delivered", 5)])])
    assert {None} == {window.watermark for window in done.windows}
    plan = done.take([batch(1, 1, 9, START + 2 * HOUR)])
    assert plan is not None and {("tally_watermark_seconds",): (START + 2 * HOUR) / MICROS} == plan.gauges
    assert [(1, False, 5)] == told(done, "5m")
    assert START + 2 * HOUR == done.partition.clock
    done.take([batch(40, 0, 2, START + 21 * HOUR, [campaign("a", FIRST, "delivered", 1)])])
    assert rfc3339(START + 2 * HOUR) == done.windows[-1].watermark


def test_a_metric_record_has_its_key_and_the_headers_of_a_cloud_event() -> None:
    done = worker()
    done.take([batch(0, 0, 1, START, [campaign("a", FIRST, "delivered", 5)])])
    emit = done.emitted(Topic.METRICS)[0]
    key = f"campaign/a/5m/{rfc3339(START)}"
    assert (key.encode(), None) == (emit.key, emit.partition)
    assert {
        "ce_specversion": b"1.0",
        "ce_id": f"{key}/1".encode(),
        "ce_type": b"dev.stagepost.metric.v1",
        "ce_source": b"urn:stagepost:t:rollup",
        "ce_time": rfc3339(LATER).encode(),
        "ce_subject": b"campaign/a",
        "content-type": b"application/json",
    } == dict(emit.headers)


def test_the_providers_of_a_scope_decide_what_is_unavailable() -> None:
    done = worker()
    deltas = [campaign("a", FIRST, "delivered", 5), campaign("a", FIRST, "provider.postmark", 5)]
    done.take([batch(0, 0, 1, START, deltas)])
    assert {("sent",)} == {window.unavailable for window in done.windows}


def test_a_batch_that_comes_again_is_counted_as_such_and_nothing_else_happens() -> None:
    done = worker()
    first = batch(0, 0, 7, START, [campaign("a", FIRST, "delivered", 5)])
    done.take([first])
    states = dict(done.states)
    plan = done.take([msgspec.structs.replace(first, offset=1, timestamp=LATER + HOUR)])
    assert plan is not None
    assert ((), 2, {("tally_batches_total", "duplicate"): 1}) == (plan.emits, plan.next_offset, dict(plan.counts))
    assert states == done.states


def test_a_gap_in_the_numbers_of_an_input_is_counted_and_the_batch_too() -> None:
    done = worker()
    done.take([batch(0, 0, 7, START, [campaign("a", FIRST, "delivered", 5)]), batch(1, 0, 9, START)])
    assert {("tally_batches_total", "next"): 1, ("tally_batches_total", "gap"): 1} == done.counts


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[1,2]",
        b'{"p":0,"seq":1}',
        b'{"p":"0","seq":1,"clock":1}',
        b'{"p":1,"seq":1,"clock":1}',
        b'{"p":-1,"seq":1,"clock":1}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","a",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","a",1,"sent",0]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","a",-1,"sent",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","a",99999999999,"sent",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["","a",1,"sent",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["x/y","a",1,"sent",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["\\u0000in","a",1,"sent",1]]}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","' + b"a" * 513 + b'",1,"sent",1]]}',
        b'{"p":0,"seq":0,"clock":1}',
        b'{"p":0,"seq":1,"clock":-1}',
        b'{"p":0,"seq":1,"clock":9000000000000000000}',
        b'{"p":0,"seq":1,"clock":1,"deltas":[["campaign","a",1,"sent",9000000000000000000]]}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_record_is_a_dead_letter_and_its_neighbours_are_counted(value: bytes | None) -> None:
    done = worker()
    good = batch(1, 0, 1, START, [campaign("a", FIRST, "delivered", 5)])
    bad = Record(topic=Topic.TALLIES, partition=0, offset=0, timestamp=LATER, key=b"0", value=value)
    done.take([bad, good])
    letter = done.emitted(Topic.TALLIES_DLQ)[0]
    assert (b"0", value, b"schema") == (letter.key, letter.value, dict(letter.headers)["stagepost-reason"])
    assert b"t.stagepost.tallies" == dict(letter.headers)["__dlq.errors.topic"]
    assert [(1, False, 5)] == told(done, "all")
    assert 1 == done.counts["tally_batches_total", "malformed"]
    assert 1 == done.counts["events_dead_lettered_total", "schema"]


def test_a_record_over_which_the_code_fails_leaves_nothing_but_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        batch(n, 0, n + 1, START, [campaign(name, FIRST, "delivered", 5), campaign("a", FIRST, "sent", 7)])
        for n, name in enumerate(("a", "bad", "b", "a"))
    ]
    expected = worker()
    expected.take([record for n, record in enumerate(records) if n != 1])

    def failing(scope: MetricScope, *rest: Any, **named: Any) -> Any:
        if scope.id == "bad":
            raise ZeroDivisionError("a fault of ours")
        return metric_window(scope, *rest, **named)

    monkeypatch.setattr(rollup_worker, "metric_window", failing)
    done = worker()
    done.take(records)
    (letter,) = done.emitted(Topic.TALLIES_DLQ)
    told = dict(letter.headers)
    assert (letter.value, told["stagepost-reason"], told["stagepost-detail"]) == (
        records[1].value,
        b"rule-error",
        b"ZeroDivisionError while the counts were added",
    )
    assert done.windows == expected.windows
    assert {key: value for key, value in done.states.items() if key != INPUTS_KEY} == {
        key: value for key, value in expected.states.items() if key != INPUTS_KEY
    }
    assert (done.counts["tally_batches_total", "malformed"], done.counts["tally_batches_total", "gap"]) == (1, 1)


def test_a_record_that_would_make_a_scope_too_large_is_a_dead_letter() -> None:
    done = worker()
    done.take([batch(0, 0, 1, START, [campaign("a", FIRST, f"m{n}", 1) for n in range(METRICS_LIMIT)])])
    done.take([batch(1, 0, 2, START, [campaign("a", FIRST, "m0", 1), campaign("a", FIRST, "one more", 1)])])
    done.take([batch(2, 0, 3, START, [campaign("a", FIRST, "m0", 1)])])
    (letter,) = done.emitted(Topic.TALLIES_DLQ)
    assert dict(letter.headers)["stagepost-reason"] == b"oversize"
    life = unpack_scope(done.states["campaign/a"]).counters.life()
    assert (len(life), life["m0"]) == (METRICS_LIMIT, 2)


def test_the_largest_state_of_a_scope_is_far_from_what_its_topic_takes() -> None:
    done = worker()
    wide = [f"{n:02}" + "😀" * 500 for n in range(METRICS_LIMIT)]
    for n in range(80):
        deltas = [campaign("a", FIRST + 12 * n + m, metric, 1 << 30) for metric in wide for m in range(12)]
        done.take([batch(n, 0, n + 1, START, deltas)])
    assert 300_000 < len(done.states["campaign/a"]) < 1_000_000
    assert max(len(emit.value or b"") for emit in done.emitted(Topic.METRICS)) < 1_000_000


def test_a_refused_record_becomes_a_dead_letter_without_a_look_into_it() -> None:
    done = worker()
    record = batch(0, 0, 1, START, [campaign("a", FIRST, "delivered", 5)])
    refused = done.processor.refuse(done.partition, record, deadly())
    plan = done.processor.plan(done.partition, refused)
    assert plan is not None
    assert (plan.seq, plan.next_offset, [emit.topic for emit in plan.emits]) == (1, 1, [Topic.TALLIES_DLQ])


def test_live_incidents_are_counted_also_after_a_restart() -> None:
    done = worker()
    active = ("alert_active", "complaint")
    assert {active: 0, ("alert_active", "unsubscribe"): 0} == done.processor.gauges(done.partition, 0)
    spike(done)
    assert 1 == done.processor.gauges(done.partition, 0)[active]
    done.restart()
    assert 1 == done.processor.gauges(done.partition, 0)[active]
    for day in range(1, 9):
        done.take([batch(100 + day, 0, 7 + day, START + day * DAY)])
    assert ("resolved", 0) == (done.alerts[-1].status, done.processor.gauges(done.partition, 0)[active])


def test_an_idle_tick_has_nothing_to_do() -> None:
    assert None is worker().take([])


def test_only_what_is_touched_or_due_is_loaded_and_written() -> None:
    done = worker(cache_scopes=1)
    for n in range(4):
        done.take([batch(n, 0, n + 1, START, [campaign(f"c{n}", FIRST, "delivered", 1)])])
    plan = done.take([batch(10, 0, 5, START, [campaign("c0", FIRST, "delivered", 1)])])
    assert plan is not None
    assert {"campaign/c0", INPUTS_KEY} == plan.states.keys()
    assert 1 == len(done.partition.cache)
    plan = done.take([batch(11, 0, 6, START + 7 * HOUR)])
    assert plan is not None
    assert {*(f"campaign/c{n}" for n in range(4)), INPUTS_KEY} == plan.states.keys()


def test_counts_that_are_too_late_for_a_window_are_counted_as_late() -> None:
    done = worker()
    done.take(
        [batch(0, 0, 1, START + 4 * DAY), batch(1, 0, 2, START + 4 * DAY, [campaign("a", FIRST, "delivered", 5)])]
    )
    assert 5 == done.counts["tally_late_total", "5m"]
    assert [] == told(done, "5m")
    assert [(1, True, 5)] == told(done, "1h")


def spike(done: Worker) -> None:
    """3000 deliveries, 30 complaints in the next hours, then calm sends that clear it."""
    done.take([batch(0, 0, 1, START + HOUR, [campaign("a", FIRST, "delivered", 3000)])])
    for hour in range(1, 7):
        deltas = [campaign("a", FIRST + hour * HOURLY, "complained", 5)]
        done.take([batch(hour, 0, 1 + hour, START + (hour + 1) * HOUR, deltas)])


def test_a_spike_of_complaints_is_told_after_the_commit_with_the_counts_known_now() -> None:
    done = worker()
    spike(done)
    fired = done.alerts[0]
    assert ("firing", "threshold", "warning", "complaint", 1) == (
        fired.status,
        fired.reason,
        fired.severity,
        fired.metric,
        fired.rev,
    )
    assert ("campaign", "a", rfc3339(START + HOUR)) == (fired.scope.type, fired.scope.id, fired.fired_at)
    assert 1 == done.counts["alerts_total", "complaint", "warning"]
    emit = done.emitted(Topic.ALERTS)[0]
    assert fired.fingerprint.encode() == emit.key
    assert f"{fired.incident_id}/1".encode() == dict(emit.headers)["ce_id"]
    assert [] == [e for plan in done.plans for e in plan.emits if e.topic == Topic.ALERTS]


def test_an_incident_is_resolved_by_the_watermark_without_traffic_in_its_scope() -> None:
    done = worker()
    spike(done)
    for day in range(1, 9):
        done.take([batch(100 + day, 0, 7 + day, START + day * DAY)])
    assert ("resolved", done.alerts[0].incident_id) == (done.alerts[-1].status, done.alerts[-1].incident_id)
    assert [*range(1, len(done.alerts) + 1)] == [record.rev for record in done.alerts]
    assert None is not done.alerts[-1].ends_at


def test_after_an_assignment_the_newest_record_of_a_live_or_just_resolved_incident_is_told_again() -> None:
    done = worker()
    spike(done)
    assert [done.emitted(Topic.ALERTS)[-1]] == list(done.restart())
    for day in range(1, 9):
        done.take([batch(100 + day, 0, 7 + day, START + day * DAY)])
        told_again = done.restart()
        ended = done.alerts[-1].ends_at
        if ended is not None and ended < rfc3339(START + (day - 1) * DAY - BIN):
            assert () == told_again
        else:
            assert [done.emitted(Topic.ALERTS)[-1]] == list(told_again)
    assert () == done.restart()


def test_withdrawals_by_an_administrator_are_no_spike() -> None:
    done = worker()
    deltas = [campaign("a", FIRST, "delivered", 3000), campaign("a", FIRST + 12, "unsubscribed", 300)]
    done.take([batch(0, 0, 1, START + HOUR, deltas)])
    assert [] == done.alerts


def test_scopes_that_are_not_watched_have_metrics_and_no_alerts() -> None:
    done = worker()
    deltas = [
        Tally("account", "main", FIRST, "delivered", 3000),
        Tally("account", "main", FIRST + 1, "complained", 300),
    ]
    done.take([batch(0, 0, 1, START + HOUR, deltas)])
    assert ([], {"account"}) == (done.alerts, {window.scope.type for window in done.windows})


def test_the_review_of_an_alert_holds_what_the_counts_know() -> None:
    done = worker()
    deltas = [
        campaign("a", FIRST, metric, n)
        for metric, n in (("sent", 3200), ("delivered", 3000), ("bounced.hard", 80), ("unsubscribed", 12))
    ]
    done.take([batch(0, 0, 1, START, [*deltas, campaign("a", FIRST + 1, "complained", 40)])])
    review = done.alerts[0].context.review
    assert (0.025, 0.004, None) == (review.bounce_rate, review.unsubscribe_rate, review.subject)


def three_weeks(seed: int, partitions: int, skew: int) -> list[Record]:
    """The demo's figures: 15 campaigns of 800 to 4000 deliveries in 21 days, complaints 0.03 % (one campaign 1 %),
    unsubscribes 0.25 % (another 3 %), delays lognormal; partition p is p * ``skew`` hours behind."""
    rng = random.Random(seed)
    hours: dict[tuple[int, int], list[Tally]] = {}
    last = FIRST + 21 * 288

    def count(p: int, bin_: int, name: str, metric: str) -> None:
        if bin_ < last:
            hours.setdefault(((bin_ - FIRST) // HOURLY + p * skew, p), []).append(campaign(name, bin_, metric))

    for n in range(15):
        begin, size = FIRST + rng.randrange(19 * 288), 3000 if n in (3, 7) else rng.choice((800, 1500, 3000, 4000))
        rates = {"complained": 0.01 if n == 3 else 0.0003, "unsubscribed.spike": 0.03 if n == 7 else 0.0025}
        for _ in range(size):
            p, sent = rng.randrange(partitions), begin + rng.randrange(24)
            count(p, sent, f"c{n}", "delivered")
            for (metric, rate), (median, sigma) in zip(rates.items(), ((354, 2.27), (167, 2.44)), strict=True):
                if rng.random() < rate:
                    count(p, sent + int(exp(rng.gauss(log(median), sigma)) // 5), f"c{n}", metric)
    records = []
    for hour in range(21 * 24 + partitions * skew):
        for p in range(partitions):
            clock = START + (hour + 1 - p * skew) * HOUR
            deltas = hours.get((hour, p), [])
            records.append(batch(len(records), p, hour + 1, clock, deltas, at=LATER + hour * 100_000))
    return records


@pytest.mark.parametrize(("seed", "skew"), [(1, 0), (2, 0), (3, 6), (4, 0), (5, 6)])
def test_in_three_weeks_of_the_demo_the_planted_campaigns_fire_and_no_other(seed: int, skew: int) -> None:
    done = worker(inputs=4)
    records = three_weeks(seed, 4, skew)
    for at in range(0, len(records), 40):
        done.take(records[at : at + 40])
    fired = {(record.metric, record.scope.id) for record in done.alerts if record.status == "firing"}
    assert {("complaint", "c3"), ("unsubscribe", "c7")} == fired
