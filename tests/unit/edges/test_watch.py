"""What a running worker tells of itself, over the broker in memory: gauges, readiness, alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import structlog
from tests.integration.counting import Counting, CountingPartition, runner_config

from stagepost.edges.applier import Applications
from stagepost.edges.clock import Clock
from stagepost.edges.errors import MirrorUnavailable, PartitionsChanged
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.metrics import Metrics
from stagepost.edges.ports import Checkpoint
from stagepost.edges.runner import Runner
from stagepost.engine.plan import Emit, PartitionPlan, Topic
from stagepost.events import MICROS

PARTITIONS = 3
TOPICS = {Topic.EVENTS: PARTITIONS, Topic.STATE: PARTITIONS, Topic.TRANSITIONS: 1}
NOW = 1_700_000_000_000_000


class Telling(Counting):
    """Each partition has a figure; one of another name only from when ``complete`` is set."""

    surveys = True

    def __init__(self) -> None:
        super().__init__()
        self.complete = False
        self.seen: dict[int, list[str]] = {}
        self.clocks: dict[int, int] = {}

    def survey(self, partition: CountingPartition, values: Mapping[str, bytes | None], done: bool) -> None:
        self.seen.setdefault(partition.number, []).extend(values)

    def gauges(self, partition: CountingPartition, clock: int) -> Mapping[tuple[str, ...], float]:
        self.clocks[partition.number] = clock
        found: dict[tuple[str, ...], float] = {("timers_due",): 2.0}
        if self.complete or partition.number == 0:
            found["contacts", "j", "s"] = 1.0 + partition.number
        return found


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.broker = MemoryBroker(TOPICS, now=NOW)
        self.mirror = MemoryMirror()
        self.metrics = Metrics()
        self.processor = Telling()
        self.runner = self.start()

    def start(self, **changes: Any) -> Runner:
        log = MemoryLog(self.broker, "group", "id", Topic.EVENTS)
        config = runner_config("", "one", idle_after_s=30.0, **changes)
        clock = Clock(lambda: self.now, lambda: NOW + int((self.now - 1000) * MICROS), self.sleep)
        self.runner = Runner(
            config, self.processor, log, self.mirror, self.metrics, clock=clock, new_applier=Applications
        )
        self.runner.open()
        return self.runner

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def turns(self, count: int, each_s: float = 0.3) -> None:
        for _ in range(count):
            self.runner.turn()
            applier: Any = self.runner._work._applier  # type: ignore[union-attr]
            while not applier.idle() and applier.attempt() == 0.0:
                pass
            self.now += each_s

    def send(self, *partitions: int, at: int | None = None) -> None:
        for partition in partitions:
            self.broker.now = NOW + int((self.now - 1000) * MICROS) if at is None else at
            contact = f"c{partition}"
            self.broker.publish(Emit(Topic.EVENTS, contact.encode(), b"e", partition=partition))

    def gauge(self, name: str) -> float | None:
        found = [s.value for family in self.metrics._gauges[name].collect() for s in family.samples]
        return sum(found) if found else None


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.runner.close()


def test_figures_of_all_partitions_are_added_up_and_one_that_not_all_can_tell_is_not_told(world: World) -> None:
    world.turns(10)
    assert (world.gauge("timers_due"), world.gauge("contacts")) == (6.0, None)
    world.processor.complete = True
    world.turns(5)
    assert world.gauge("contacts") == 1.0 + 2.0 + 3.0
    world.processor.complete = False
    world.turns(5)
    assert world.gauge("contacts") is None


def test_the_states_of_a_restored_partition_are_shown_and_those_of_a_new_one_are_known(world: World) -> None:
    world.send(0, 1, 2)
    world.turns(40)
    assert world.processor.seen == {}
    world.runner.close()
    world.start()
    world.turns(40)
    assert world.processor.seen == {0: ["c0"], 1: ["c1"], 2: ["c2"]}


def test_the_clock_of_an_idle_partition_is_that_of_the_broker(world: World) -> None:
    world.send(0)
    world.turns(10)
    assert world.processor.clocks[0] < NOW + 1 * MICROS
    world.turns(120)
    assert world.processor.clocks[0] > NOW + 30 * MICROS


def test_without_the_brokers_word_the_clock_of_an_idle_partition_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that is known from the last fetch says nothing of a leader that cannot be reached."""
    world.send(0, 1, 2)
    world.turns(10)
    monkeypatch.setattr(world.runner._intake, "at_end", lambda partition, next_offset, timeout_s: partition != 1)
    world.turns(200)
    assert [owned.number for owned in world.runner._idle(world.now)] == [0, 2]
    monkeypatch.undo()
    world.now += 10
    assert [owned.number for owned in world.runner._idle(world.now)] == [0, 1, 2]


@pytest.mark.parametrize(("by_s", "kind"), [(-90, "back"), (90, "ahead")])
def test_broker_time_that_jumps_is_counted_and_told_once_a_minute(world: World, by_s: int, kind: str) -> None:
    world.send(0)
    world.turns(5)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            world.send(0, at=NOW + int((world.now - 1000 + by_s) * MICROS))
            world.turns(1)
            world.send(0)
            world.turns(1)
    assert [line["state"] for line in lines if line["event"] == "broker time jumped"] == [kind]
    assert world.metrics.total("clock_jumps_total", kind=kind) == 3


def test_broker_time_as_usual_is_no_alarm(world: World) -> None:
    for _ in range(20):
        world.send(0, 1)
        world.turns(2)
    assert world.metrics.total("clock_jumps_total") == 0


def test_partitions_that_were_added_by_hand_are_refused_by_whoever_gets_only_these(world: World) -> None:
    world.send(0)
    world.turns(10)
    world.runner.close()
    for topic in (Topic.EVENTS, Topic.STATE):
        world.broker.grow(topic, 2 * PARTITIONS)
    with pytest.raises(PartitionsChanged, match="use stagepost repartition"):
        world.start()


def test_the_lag_of_a_backlog_is_its_age_and_no_alarm_of_the_clock(world: World) -> None:
    world.runner.close()
    for _ in range(50):
        world.send(0, at=NOW - 3600 * MICROS)
    world.broker.now = NOW
    world.start(batch=5)
    world.turns(6, each_s=1.1)
    assert world.gauge("consumer_lag_records") in range(5, 50)
    assert 3600 <= (world.gauge("consumer_lag_seconds") or 0) < 3700
    assert world.gauge("last_record_processed_timestamp_seconds") == NOW / MICROS - 3600
    world.turns(30, each_s=1.1)
    assert (world.gauge("consumer_lag_records"), world.gauge("consumer_lag_seconds")) == (0, 0)
    assert world.metrics.total("clock_jumps_total") == 0


def test_a_partition_that_waits_for_redis_is_stale_and_keeps_its_lag(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(0, 1, 2)
    world.turns(10)
    assert (world.gauge("mirror_staleness_seconds"), world.gauge("consumer_lag_records")) == (0.0, 0)

    def away(partition: int) -> Checkpoint | None:
        raise MirrorUnavailable("Redis is away")

    monkeypatch.setattr(world.mirror, "checkpoint", away)
    for owned in list(world.runner._running.values()):
        world.runner._again(owned, "gap")
    world.turns(60, each_s=0.5)
    assert (world.gauge("mirror_staleness_seconds") or 0) > 3 * 20
    assert world.gauge("consumer_lag_records") == 0


def test_contacts_that_move_too_often_are_told_at_a_bounded_rate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Counting.plan

    def hot(self: Counting, partition: CountingPartition, batch: Any) -> PartitionPlan | None:
        plan = real(self, partition, batch)
        if plan is not None:
            plan.counts["hot_contacts_total",] += 1  # type: ignore[index]
        return plan

    monkeypatch.setattr(Telling, "plan", hot)
    with structlog.testing.capture_logs() as lines:
        for _ in range(30):
            world.send(0)
            world.turns(1)
        world.now += 60
        world.send(0)
        world.turns(2)
    told = [line["contacts"] for line in lines if line["event"] == "contacts move unusually often"]
    assert told[0] == 1
    assert (len(told), sum(told)) == (2, world.metrics.total("hot_contacts_total"))


def test_a_partition_that_is_idle_for_a_second_finds_out_that_the_mirror_was_emptied(world: World) -> None:
    world.send(0, 1, 2)
    world.turns(10)
    world.mirror.flush()
    world.turns(10)
    assert world.metrics.total("mirror_refusals_total", reason="gap") == PARTITIONS
    assert {world.mirror.states(number).keys() == {f"c{number}"} for number in range(PARTITIONS)} == {True}


def test_a_read_that_the_mirror_refuses_is_counted_by_its_kind(world: World) -> None:
    world.processor.cache = 0
    world.send(0)
    world.turns(3)
    world.mirror.flush()
    world.send(0)
    world.turns(8)
    assert world.metrics.total("mirror_refusals_total", reason="nonce") == 1


def test_redis_that_does_not_answer_is_named_by_a_worker_in_restore_and_by_one_that_is_idle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(partition: int) -> Checkpoint | None:
        raise MirrorUnavailable("refused")

    def reasons() -> Sequence[str]:
        return world.runner.status.not_ready

    world.turns(5)
    assert reasons() == ()
    monkeypatch.setattr(world.mirror, "checkpoint", away)
    world.turns(8)
    assert reasons() == ("Redis does not answer (setting redis.url)",)
    world.runner.close()
    world.start()
    world.turns(5)
    assert reasons() == ("restoring 3 partitions", "Redis does not answer (setting redis.url)")
    monkeypatch.undo()
    world.turns(10)
    assert reasons() == ()
