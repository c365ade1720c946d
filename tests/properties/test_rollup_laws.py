"""Laws of the rollup: a naive recount, and that duplicates, batch boundaries and restarts change nothing."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.tally_log import FIRST, LATER, Worker, batch, campaign

from stagepost.engine.plan import Record, Topic
from stagepost.engine.rollup_worker import RollupProcessor
from stagepost.events import BIN, HOUR, MICROS, MetricWindow, Tally, TallyBatch, from_micros

INPUTS = 2
METRICS = ("sent", "delivered", "complained", "unsubscribed.spike", "unsubscribed", "opened", "provider.postmark")

deltas = st.builds(
    campaign,
    st.sampled_from(["a", "b"]),
    st.integers(FIRST, FIRST + 3 * 288),
    st.sampled_from(METRICS),
    st.integers(1, 300),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Batches of two inputs whose clocks go on by up to a day, with pauses of up to a minute of broker time."""
    seqs, clocks, now = Counter[int](), [FIRST * BIN] * INPUTS, LATER
    records = []
    for offset in range(draw(st.integers(1, 14))):
        p = draw(st.integers(0, INPUTS - 1))
        seqs[p] += 1
        clocks[p] += draw(st.integers(0, 24)) * HOUR
        now += draw(st.integers(0, 60)) * MICROS
        records.append(batch(offset, p, seqs[p], clocks[p], draw(st.lists(deltas, max_size=12)), at=now))
    return records


def worker() -> Worker:
    return Worker(RollupProcessor(event_partitions=INPUTS, cache_scopes=1))


def finished(records: list[Record]) -> list[Record]:
    """The log and one empty batch of each input at its end, late enough that all that changed is written."""
    seqs = Counter({p: max((b.seq for b in map(decoded, records) if b.p == p), default=0) for p in range(INPUTS)})
    clock = (FIRST + 40 * 288) * BIN
    offset, now = records[-1].offset, max(clock, records[-1].timestamp)
    return [*records, *(batch(offset + 1 + p, p, seqs[p] + 1, clock, at=now + 61 * MICROS) for p in range(INPUTS))]


def decoded(record: Record) -> TallyBatch:
    return msgspec.json.decode(record.value or b"", type=TallyBatch)


def outputs(done: Worker) -> list[tuple[bytes | None, bytes | None, object]]:
    return [(e.key, e.value, e.headers) for topic in (Topic.METRICS, Topic.ALERTS) for e in done.emitted(topic)]


def naive_start(window: str, bin_: int) -> datetime:
    """First moment of the window, by the calendar."""
    at = from_micros(bin_ * BIN)
    midnight = at.replace(hour=0, minute=0)
    return {
        "5m": at,
        "1h": at.replace(minute=0),
        "1d": midnight,
        "7d": midnight - timedelta(days=at.weekday()),
        "all": from_micros(0),
    }[window]


def naive_recount(deltas: list[Tally]) -> dict[tuple[str, str, datetime], Counter[str]]:
    found: dict[tuple[str, str, datetime], Counter[str]] = {}
    for delta in deltas:
        if delta.metric.startswith("provider.") or delta.metric == "unsubscribed.spike":
            delta = msgspec.structs.replace(delta, n=0)
        for window in ("5m", "1h", "1d", "7d", "all"):
            cell = found.setdefault((delta.scope_id, window, naive_start(window, delta.bin)), Counter())
            cell[delta.metric] += delta.n
    return {place: Counter({name: n for name, n in cell.items() if n}) for place, cell in found.items()}


def newest(done: Worker) -> dict[tuple[str, str, datetime], Counter[str]]:
    records: dict[tuple[str, str, str], MetricWindow] = {}
    for record in done.windows:
        before = records.get((record.scope.id, record.window, record.start))
        assert (before.rev if before is not None else 0) + 1 == record.rev
        records[record.scope.id, record.window, record.start] = record
    return {
        (scope, window, datetime.fromisoformat(start)): Counter({m: n for m, n in record.counts.items() if n})
        for (scope, window, start), record in records.items()
    }


@settings(max_examples=40, deadline=None)
@given(logs())
def test_the_newest_record_of_each_window_is_a_naive_recount(records: list[Record]) -> None:
    """What comes later than a window takes is counted as late, and is in the longer windows."""
    done = worker()
    done.take(finished(records))
    late = {name[1]: n for name, n in done.counts.items() if name[0] == "tally_late_total"}
    expected, found = naive_recount([d for record in records for d in decoded(record).deltas]), newest(done)
    assert late.keys() <= {"5m", "1h"}
    for window in {"5m", "1h", "1d", "7d", "all"} - late.keys():
        assert {k: n for k, n in expected.items() if k[1] == window} == {
            k: n for k, n in found.items() if k[1] == window
        }
    for window, n in late.items():
        missing = sum((expected[k] - found.get(k, Counter())).total() for k in expected if k[1] == window)
        assert missing <= n


@settings(max_examples=40, deadline=None)
@given(logs(), st.lists(st.integers(1, 5), min_size=1))
def test_batch_boundaries_change_nothing(records: list[Record], sizes: list[int]) -> None:
    whole, cut = worker(), worker()
    log = finished(records)
    whole.take(log)
    at = 0
    while at < len(log):
        size = sizes[at % len(sizes)]
        cut.take(log[at : at + size])
        at += size
    assert outputs(whole) == outputs(cut)
    assert whole.states == cut.states


@settings(max_examples=40, deadline=None)
@given(logs(), st.sets(st.integers(0, 15)))
def test_a_restart_at_any_point_changes_nothing(records: list[Record], restarts: set[int]) -> None:
    calm, shaken = worker(), worker()
    for at, record in enumerate(finished(records)):
        calm.take([record])
        shaken.take([record])
        if at in restarts:
            shaken.restart()
    assert outputs(calm) == outputs(shaken)
    assert calm.states == shaken.states


@settings(max_examples=40, deadline=None)
@given(logs(), st.data())
def test_batches_that_come_again_change_nothing(records: list[Record], data: st.DataObject) -> None:
    once, again = worker(), worker()
    log = finished(records)
    repeated: list[Record] = []
    for at, record in enumerate(log):
        repeated.append(record)
        if data.draw(st.booleans()):
            twin = log[data.draw(st.integers(0, at))]
            repeated.append(msgspec.structs.replace(twin, timestamp=record.timestamp))
    once.take(log)
    again.take(repeated)
    assert outputs(once) == outputs(again)
    assert once.states == again.states
    assert len(repeated) - len(log) == again.counts.get(("tally_batches_total", "duplicate"), 0)


@settings(max_examples=40, deadline=None)
@given(logs())
def test_a_plan_changes_nothing_until_it_is_applied(records: list[Record]) -> None:
    done = worker()
    done.take(records[:1])
    read = done.processor.read(done.partition, records[1:], len(records), None)
    done.processor.load(done.partition, {key: done.states.get(key) for key in read.needs})
    first, second = (done.processor.plan(done.partition, read) for _ in range(2))
    assert (first is None) is (len(records) == 1)
    if first is not None and second is not None:
        # Decoded states are for the cache, and have no equality of their own; their bytes are compared.
        assert msgspec.structs.replace(first, entries={}) == msgspec.structs.replace(second, entries={})
