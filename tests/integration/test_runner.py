"""The runner on a real broker and a real Redis, with faults: everything once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.integration.counting import Copying, Counting, kafka_settings, runner_config
from tests.timers import due_in

from stagepost.edges.embedded_kafka import EmbeddedKafka
from stagepost.edges.errors import MissingTopics, OffsetMoved, Stop
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis
from stagepost.edges.metrics import Metrics
from stagepost.edges.mirror import RedisMirror, connect
from stagepost.edges.ports import Counters, NoCounters
from stagepost.edges.processes import Child, ProcessGroup
from stagepost.edges.runner import Runner, kafka_runner
from stagepost.engine.plan import CONTROL_KEY, Control, Topic, decode_control
from stagepost.events import murmur2_partition
from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer

PARTITIONS = 4


class Stream:
    """One installation on the broker: sends events, reads what came out."""

    def __init__(self, bootstrap: str, redis_url: str, prefix: str, session_ms: int = 1500) -> None:
        self.bootstrap, self.redis_url, self.prefix = bootstrap, redis_url, prefix
        self.session_ms = session_ms
        self.sent: list[tuple[str, str]] = []
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})

    def send(self, count: int, contacts: int = 60, kind: str = "e") -> None:
        for _ in range(count):
            number = len(self.sent)
            contact, event = f"c{number % contacts}", f"{kind}{number}"
            partition = murmur2_partition(contact.encode(), PARTITIONS)
            self._producer.produce(self.prefix + Topic.EVENTS, event, contact, partition)
            self.sent.append((contact, event))
        self._producer.flush()

    def read(self, topic: Topic, partitions: int = PARTITIONS) -> list[tuple[int, bytes, bytes | None]]:
        """All committed records of a topic: partition, key, value."""
        settings = {"bootstrap.servers": self.bootstrap, "group.id": "reader", "isolation.level": "read_committed"}
        consumer = Consumer({**settings, "enable.partition.eof": True, "fetch.wait.max.ms": 20})
        consumer.assign([TopicPartition(self.prefix + topic, number, 0) for number in range(partitions)])
        found: list[tuple[int, bytes, bytes | None]] = []
        ends = 0
        while ends < partitions:
            for message in consumer.consume(1000, 0.5):
                if message.error() is not None:
                    ends += 1
                    continue
                partition = message.partition()
                assert partition is not None
                found.append((partition, message.key() or b"", message.value()))
        consumer.close()
        return found

    def moves(self) -> list[tuple[str, str, str]]:
        """Every committed transition: contact, number or ``timer``, event."""
        values = [(value or b"").decode() for _, _, value in self.read(Topic.TRANSITIONS)]
        return [(contact, number, event) for contact, number, event in (value.split() for value in values)]

    def await_moves(self, count: int, within_s: float = 20) -> None:
        deadline = time.monotonic() + within_s
        while (found := len(self.moves())) < count:
            assert time.monotonic() < deadline, f"{found} of {count} transitions after {within_s} s"
            time.sleep(0.1)

    def controls(self) -> dict[int, list[Control]]:
        found = defaultdict(list)
        for partition, key, value in self.read(Topic.STATE):
            if key == CONTROL_KEY:
                found[partition].append(decode_control(value or b""))
        return found

    def check(self, dead: int = 0) -> None:
        """The invariants of delivery.md 5 that this processor has; ``dead``: how many records became dead letters."""
        counted = [move for move in self.moves() if move[1] != "timer"]
        # I1: each event once, in order for its contact.
        assert Counter(self.sent) == Counter((contact, event) for contact, _, event in counted)
        numbers: dict[str, list[int]] = defaultdict(list)
        for contact, number, _ in counted:
            numbers[contact].append(int(number))
        assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())
        # I2: the fold of the state topic is the oracle's state.
        expected = Counter(contact for contact, _ in self.sent)
        states: dict[int, dict[str, bytes | None]] = defaultdict(dict)
        records: dict[int, list[bytes]] = defaultdict(list)
        for partition, key, value in self.read(Topic.STATE):
            records[partition].append(key)
            if key != CONTROL_KEY:
                states[partition][key.decode()] = value
        folded = {contact: json.loads(value or b"")["n"] for each in states.values() for contact, value in each.items()}
        assert expected == Counter(folded)
        # I4: numbers without gap or repetition, counts that match, the control record last.
        for partition, controls in self.controls().items():
            assert [control.seq for control in controls] == list(range(1, len(controls) + 1))
            assert [control.n_states for control in controls] == _between(records[partition])
        assert sum(c.n_out for controls in self.controls().values() for c in controls) == len(self.moves()) + dead
        # I3: at rest, Redis shows the same.
        mirror = self.mirror()
        for partition, controls in self.controls().items():
            self.await_mirror(mirror, partition, controls[-1].seq)
            assert mirror.states(partition) == states[partition]
            due = {contact: json.loads(value or b"")["due"] for contact, value in states[partition].items()}
            assert due_in(mirror, partition) == {contact: at for contact, at in due.items() if at is not None}
        mirror.close()

    def mirror(self) -> RedisMirror:
        return RedisMirror(connect(self.redis_url), MirrorKeys.of(self.prefix, "journey"))

    def await_mirror(self, mirror: RedisMirror, partition: int, seq: int) -> None:
        deadline = time.monotonic() + 15
        while True:
            at = mirror.checkpoint(partition)
            if at is not None and (at.seq, at.partial) == (seq, False):
                return
            assert time.monotonic() < deadline, f"the mirror of partition {partition} shows {at}, not batch {seq}"
            time.sleep(0.05)

    def runner(self, instance: str = "one", counters: Counters | None = None, **changes: Any) -> Runner:
        processor = changes.pop("processor", None) or Counting()
        failpoint = changes.pop("failpoint", lambda name: None)
        config = runner_config(self.prefix, instance, **changes)
        settings = kafka_settings(self.bootstrap, self.session_ms)
        return kafka_runner(config, settings, self.redis_url, processor, counters or NoCounters(), failpoint)

    def worker(self, group: ProcessGroup, die_at: str = "-", times: int = 1, instance: str = "one") -> Child:
        script = Path(__file__).with_name("counting.py")
        argv = [sys.executable, str(script), self.bootstrap, self.redis_url, self.prefix, instance, die_at, str(times)]
        return group.start(f"worker dying at {die_at}", argv, {"PYTHONPATH": "src:."}, group.folder / "worker.log")


def _between(keys: list[bytes]) -> list[int]:
    """How many other records lie before each control record."""
    counts, since = [], 0
    for key in keys:
        if key == CONTROL_KEY:
            counts.append(since)
            since = 0
        else:
            since += 1
    return counts


@contextmanager
def running(runner: Runner) -> Iterator[Runner]:
    """Runs in a thread; what ended it is raised at the end."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            runner.run()
        except BaseException as error:
            failures.append(error)
            traceback.print_exc()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield runner
    finally:
        runner.stop()
        thread.join(15)
    assert not thread.is_alive(), "the runner did not stop"
    if failures:
        raise failures[0]


def eventually(what: Callable[[], bool], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def stream(kafka: KafkaServer, redis_url: str, topic_prefix: str, make_topics: MakeTopics) -> Stream:
    return Stream(kafka.bootstrap, redis_url, make_topics(topic_prefix, PARTITIONS))


def test_records_are_counted_once_and_a_stop_is_clean(stream: Stream) -> None:
    stream.send(500)
    metrics = Metrics()
    with running(stream.runner(counters=metrics)) as runner:
        stream.await_moves(500)
        assert runner.status.not_ready == ()
        stream.send(300)
        stream.await_moves(800)
        began = time.monotonic()
        runner.stop()
    assert time.monotonic() - began < 10
    assert metrics.total("events_applied_total") == 800
    stream.check()


def test_a_restart_goes_on_from_redis_and_from_an_empty_redis_alike(stream: Stream) -> None:
    stream.send(400)
    with running(stream.runner()):
        stream.await_moves(400)
    stream.send(200)
    with running(stream.runner()):
        stream.await_moves(600)
    connect(stream.redis_url).flushall()
    stream.send(200)
    with running(stream.runner()):
        stream.await_moves(800)
    stream.check()


def test_an_older_redis_is_brought_forward_from_the_state_topic(
    kafka: KafkaServer, breakable_redis: LocalRedis, topic_prefix: str, make_topics: MakeTopics
) -> None:
    stream = Stream(kafka.bootstrap, breakable_redis.url, make_topics(topic_prefix, PARTITIONS))
    stream.send(300)
    with running(stream.runner()):
        stream.await_moves(300)
    dump = breakable_redis.dump()
    stream.send(300)
    with running(stream.runner()):
        stream.await_moves(600)
    breakable_redis.kill()
    breakable_redis.start(dump)
    stream.send(100)
    with running(stream.runner()):
        stream.await_moves(700)
    stream.check()


def test_redis_flushed_rolled_back_and_killed_under_a_running_worker(
    kafka: KafkaServer, breakable_redis: LocalRedis, topic_prefix: str, make_topics: MakeTopics
) -> None:
    stream = Stream(kafka.bootstrap, breakable_redis.url, make_topics(topic_prefix, PARTITIONS))
    # More contacts than the caches hold, so that a wrong read would be computed from.
    with running(stream.runner(idle_after_s=0.5)):
        stream.send(300, contacts=300)
        stream.await_moves(300)
        dump = breakable_redis.dump()
        breakable_redis.flush()
        stream.send(300, contacts=300)
        stream.await_moves(600)
        breakable_redis.kill()
        stream.send(300, contacts=300)
        time.sleep(0.5)
        breakable_redis.start(dump)
        stream.await_moves(900)
        breakable_redis.flush()
        # Nobody sends: an idle partition finds out by itself.
        mirror = stream.mirror()
        for partition, controls in stream.controls().items():
            stream.await_mirror(mirror, partition, controls[-1].seq)
        mirror.close()
    stream.check()


def test_two_workers_share_the_partitions_and_hand_them_over(stream: Stream) -> None:
    stream.send(300)
    first, second = stream.runner("one"), stream.runner("two")
    with running(first):
        stream.await_moves(300)
        with running(second):
            eventually(lambda: second.status.not_ready == ())
            for _ in range(5):
                stream.send(100)
            stream.await_moves(800)
        stream.send(100)
        stream.await_moves(900)
    stream.check()


KILLS = [
    ("after_consume", 2),
    ("after_read", 2),
    ("mid_produce", 2),
    ("before_offsets", 1),
    ("after_offsets", 2),
    ("before_end", 1),
    ("committed", 2),
    ("mid_apply", 2),
    ("applied", 3),
    ("restore_committed", 2),
    ("restore_done", 3),
]


def test_kill_9_at_any_step_changes_nothing(stream: Stream, process_group: ProcessGroup) -> None:
    for die_at, times in KILLS:
        worker = stream.worker(process_group, die_at, times)
        deadline = time.monotonic() + 20
        while worker.poll() is None:
            assert time.monotonic() < deadline, f"{worker.name}: {worker.tail()}"
            stream.send(60)
            time.sleep(0.1)
        assert worker.poll() == -9, worker.tail()
    worker = stream.worker(process_group)
    stream.await_moves(len(stream.sent), within_s=30)
    assert worker.stop(grace_s=10) == 0
    stream.check()


def test_a_frozen_worker_that_wakes_up_finds_itself_replaced(stream: Stream, process_group: ProcessGroup) -> None:
    stream.send(200)
    frozen = threading.Event()
    thaw = threading.Event()

    def freeze(name: str) -> None:
        if name == "before_offsets" and not frozen.is_set():
            frozen.set()
            assert thaw.wait(30)

    # Its heartbeats go on, so the group is made to move on by a second member.
    with running(stream.runner("one", failpoint=freeze)):
        assert frozen.wait(20)
        worker = stream.worker(process_group, instance="two")
        time.sleep(3)
        thaw.set()
        stream.send(100)
        stream.await_moves(300, within_s=40)
        assert worker.stop(grace_s=10) == 0
    stream.check()


def test_a_fenced_producer_is_replaced_and_nothing_is_lost_or_doubled(stream: Stream) -> None:
    metrics = Metrics()
    stream.send(100)
    with running(stream.runner("one", counters=metrics)):
        stream.await_moves(100)
        for _ in range(2):
            transactional_id = f"{stream.prefix}stagepost.journey.one"
            other = Producer({"bootstrap.servers": stream.bootstrap, "transactional.id": transactional_id})
            other.init_transactions(10)
            stream.send(100)
            stream.await_moves(len(stream.sent))
    assert metrics.total("fenced_total") == 2
    stream.check()


@pytest.mark.parametrize("step", ["before_offsets", "before_end"])
def test_a_broker_that_freezes_in_a_transaction_leaves_its_outcome_to_be_read(
    breakable_kafka: LocalKafka, redis_url: str, topic_prefix: str, make_topics: MakeTopics, step: str
) -> None:
    stream = Stream(breakable_kafka.bootstrap, redis_url, make_topics(topic_prefix, PARTITIONS))
    metrics = Metrics()
    times = 0

    def freeze(name: str) -> None:
        nonlocal times
        times += name == step
        if name == step and times == 2:
            os.kill(breakable_kafka.pid, signal.SIGSTOP)
            # Longer than the budget of a call, shorter than the start of a new producer.
            threading.Timer(5, os.kill, (breakable_kafka.pid, signal.SIGCONT)).start()

    with running(stream.runner(counters=metrics, failpoint=freeze)):
        stream.send(100)
        stream.await_moves(100)
        stream.send(100)
        stream.await_moves(200, within_s=40)
    # Where the broker wakes up just as the budget ends, the offsets were refused in time, and the abort went through.
    ends = [metrics.total("transactions_total", result=result) for result in ("unknown", "aborted")]
    assert sum(ends) >= 1
    stream.check()


def test_a_broker_that_stays_away_is_waited_for_by_a_worker_that_says_so(
    breakable_kafka: LocalKafka, redis_url: str, topic_prefix: str, make_topics: MakeTopics
) -> None:
    stream = Stream(breakable_kafka.bootstrap, redis_url, make_topics(topic_prefix, PARTITIONS))
    times = 0

    def freeze(name: str) -> None:
        nonlocal times
        times += name == "before_offsets"
        if name == "before_offsets" and times == 2:
            os.kill(breakable_kafka.pid, signal.SIGSTOP)
            # Longer than a producer is tried to be started when the process begins.
            threading.Timer(20, os.kill, (breakable_kafka.pid, signal.SIGCONT)).start()

    runner = stream.runner(failpoint=freeze)
    with running(runner):
        stream.send(100)
        stream.await_moves(100)
        stream.send(100)
        until = time.monotonic() + 15
        while not any("Kafka does not answer" in reason for reason in runner.status.not_ready):
            assert time.monotonic() < until
            time.sleep(0.1)
        stream.await_moves(200, within_s=60)
        while runner.status.not_ready:
            assert time.monotonic() < until + 60
            time.sleep(0.1)
    stream.check()


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(
    breakable_kafka: LocalKafka,
    redis_url: str,
    topic_prefix: str,
    make_topics: MakeTopics,
    process_group: ProcessGroup,
) -> None:
    stream = Stream(breakable_kafka.bootstrap, redis_url, make_topics(topic_prefix, PARTITIONS))
    worker = stream.worker(process_group)
    stream.send(100)
    stream.await_moves(100)
    breakable_kafka.kill()
    breakable_kafka.start()
    stream.send(100)
    deadline = time.monotonic() + 60
    while len(stream.moves()) < 200:
        assert time.monotonic() < deadline, worker.tail()
        if worker.poll() is not None:  # ended by its watchdog, because a call of the client library hung
            assert worker.poll() == 1
            worker = stream.worker(process_group)
        time.sleep(0.2)
    assert worker.stop(grace_s=10) == 0
    stream.check()


def test_timers_of_an_idle_partition_fire_by_broker_time(stream: Stream) -> None:
    with running(stream.runner(idle_after_s=0.5)):
        stream.send(40, kind="timer")
        stream.await_moves(80)
    fired = [(contact, event) for contact, number, event in stream.moves() if number == "timer"]
    assert Counter(stream.sent) == Counter(fired)
    stream.check()


def test_timers_survive_a_restart_with_an_empty_redis(stream: Stream) -> None:
    with running(stream.runner()):
        stream.send(40, kind="timer")
        stream.await_moves(40)
    connect(stream.redis_url).flushall()
    with running(stream.runner(idle_after_s=0.5)):
        stream.await_moves(80)
    fired = [(contact, event) for contact, number, event in stream.moves() if number == "timer"]
    assert Counter(stream.sent) == Counter(fired)
    stream.check()


def test_live_records_are_published_again_after_an_assignment(stream: Stream) -> None:
    stream.send(30, contacts=3)
    with running(stream.runner(processor=Counting(announces=True), topics=(Topic.ALERTS,))):
        stream.await_moves(30)
    assert stream.read(Topic.ALERTS) == []
    with running(stream.runner(processor=Counting(announces=True))):
        eventually(lambda: len(stream.read(Topic.ALERTS)) == 3)
    announced = {key: json.loads(value or b"")["n"] for _, key, value in stream.read(Topic.ALERTS)}
    assert announced == {b"c0": 10, b"c1": 10, b"c2": 10}


def test_a_role_without_state_keeps_its_batch_number_in_the_committed_offset(stream: Stream) -> None:
    stream.send(300)
    with running(stream.runner(processor=Copying(), role="normalise")):
        stream.await_moves(300)
    stream.send(200)
    with running(stream.runner(processor=Copying(), role="normalise")):
        stream.await_moves(500)
    moves = stream.moves()
    assert Counter(stream.sent) == Counter((contact, event) for contact, _, event in moves)
    numbers = [int(number) for _, number, _ in moves]
    assert set(numbers) == set(range(1, max(numbers) + 1))
    assert stream.read(Topic.STATE) == []


def test_on_the_embedded_broker_a_restart_goes_on_from_the_control_record(redis_url: str) -> None:
    broker = EmbeddedKafka()
    prefix = "embedded."
    broker.touch(prefix + topic for topic in (Topic.EVENTS, Topic.STATE, Topic.TRANSITIONS))
    # Its group takes 3 s to form, within which a member must not be given up.
    stream = Stream(broker.bootstrap, redis_url, prefix, session_ms=10_000)
    stream.send(100)
    with running(stream.runner()):
        stream.await_moves(100, within_s=30)
    stream.send(100)
    with running(stream.runner()):
        stream.await_moves(200, within_s=30)
    counted = Counter((contact, event) for contact, _, event in stream.moves())
    broker.close()
    assert Counter(stream.sent) == counted


def test_missing_topics_are_named(kafka: KafkaServer, redis_url: str, topic_prefix: str) -> None:
    stream = Stream(kafka.bootstrap, redis_url, topic_prefix)
    with pytest.raises(MissingTopics) as raised:
        stream.runner().run()
    names = (Topic.EVENTS, Topic.TRANSITIONS, Topic.STATE)
    assert raised.value.names == tuple(sorted(topic_prefix + name for name in names))


def test_an_offset_that_an_operator_moved_is_refused_without_rebuild(stream: Stream) -> None:
    stream.send(100, contacts=1)
    with running(stream.runner()):
        stream.await_moves(100)
    partition = murmur2_partition(b"c0", PARTITIONS)
    consumer = Consumer({"bootstrap.servers": stream.bootstrap, "group.id": f"{stream.prefix}stagepost.journey"})
    place = TopicPartition(stream.prefix + Topic.EVENTS, partition, 90)
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    with pytest.raises(OffsetMoved, match=f"partition {partition} was moved"):
        stream.runner().run()
    with running(stream.runner(rebuild=True)):
        stream.await_moves(110)
    with running(stream.runner()):
        stream.send(1, contacts=1)
        stream.await_moves(111)
    assert ("c0", "111", "e100") in stream.moves()


def named_runner(stream: Stream, session_ms: int = 10_000) -> Runner:
    settings = replace(kafka_settings(stream.bootstrap, session_ms), static_member="one")
    config = runner_config(stream.prefix, "one")
    return kafka_runner(config, settings, stream.redis_url, Counting(), NoCounters())


def test_a_named_worker_goes_on_at_once_after_it_was_killed(stream: Stream) -> None:
    stream.send(100)
    with running(named_runner(stream)):
        stream.await_moves(100, within_s=30)
    stream.send(100)
    began = time.monotonic()
    with running(named_runner(stream)):
        stream.await_moves(200)
    assert time.monotonic() - began < 9, "a member with a name of its own would have waited for the session timeout"
    stream.check()


def test_of_two_workers_with_one_name_the_older_one_ends_and_says_why(stream: Stream) -> None:
    stream.send(100)
    ended: list[str] = []

    def run_older() -> None:
        try:
            named_runner(stream).run()
        except Stop as error:
            ended.append(str(error))

    older = threading.Thread(target=run_older, daemon=True)
    older.start()
    stream.await_moves(100, within_s=30)
    with running(named_runner(stream)):
        older.join(30)
        stream.send(100)
        stream.await_moves(200, within_s=30)
    assert [("same --instance" in why) for why in ended] == [True], ended
    stream.check()
