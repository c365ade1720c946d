"""Records that cannot be carried out, over the broker in memory: found alone, set aside, and nobody else with them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from msgspec import structs
from tests.integration.counting import Copying, Counting, CountingBatch, CountingPartition, runner_config

from stagepost.edges import transactions as transactions_module
from stagepost.edges.errors import Abort, MirrorUnavailable, Outdated, Stop, Unfit
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror, MemoryProducer
from stagepost.edges.ports import NoCounters, Placed
from stagepost.edges.runner import Runner
from stagepost.engine.attempts import LIVES, deadly
from stagepost.engine.dead_letter_guard import GuardConfig
from stagepost.engine.plan import Emit, PartitionPlan, Record, Stateful, Stateless, Topic
from stagepost.events import murmur2_partition

PARTITIONS = 2
TOPICS = {Topic.EVENTS: PARTITIONS, Topic.STATE: PARTITIONS, Topic.TRANSITIONS: 1, Topic.EVENTS_DLQ: 1}


class Dies(BaseException):
    """The process ends: nothing is tidied up."""


class Poisoned(Counting):
    """Ends its process over records whose value is ``deadly``; idle ticks are left alone."""

    def read(
        self, partition: CountingPartition, records: Sequence[Record], next_offset: int, now: int | None
    ) -> CountingBatch:
        if any((record.value or b"").startswith(b"deadly") for record in records):
            raise Dies
        return super().read(partition, records, next_offset, now)


class Unreadable(Counting):
    def load(self, partition: CountingPartition, values: Mapping[str, bytes | None]) -> None:
        raise ValueError("packed state has codec 9")


class PoisonedCopying(Copying):
    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan:
        if any((record.value or b"").startswith(b"deadly") for record in records):
            raise Dies
        return super().plan(partition, seq, records, next_offset)


class Refusing(Copying):
    """What is called ``bad`` is refused, in whatever batch it is read."""

    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan:
        letters = [self.refuse(partition, seq, r, deadly()).emits[0] for r in records if r.value == b"bad"]
        made = super().plan(partition, seq, [r for r in records if r.value != b"bad"], next_offset)
        return structs.replace(made, emits=(*made.emits, *letters))


class Counts(NoCounters):
    def __init__(self) -> None:
        self.total: Counter[tuple[str, ...]] = Counter()

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        self.total.update(counts)


class World:
    """A broker and a mirror that outlive the workers."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(TOPICS)
        self.mirror: MemoryMirror = MemoryMirror()
        self.counts = Counts()
        self.sent: list[tuple[str, str]] = []
        self.lives = 0
        self.runner: Runner | None = None

    def send(self, *events: str) -> None:
        for event in events:
            contact = f"c{len(self.sent) % 17}"
            partition = murmur2_partition(contact.encode(), PARTITIONS)
            self.broker.now += 1000
            self.broker.publish(Emit(Topic.EVENTS, contact.encode(), event.encode(), partition=partition))
            self.sent.append((contact, event))

    def start(self, processor: Stateless | Stateful | None = None, **changes: Any) -> Runner:
        self.lives += 1
        name = "stable"  # its start ends the transaction of the life before
        log = MemoryLog(self.broker, "group", f"id.{name}", Topic.EVENTS)
        config = runner_config("", name, batch=500, idle_after_s=3600.0, **changes)
        self.runner = Runner(config, processor or Poisoned(), log, self.mirror, self.counts)
        self.runner.open()
        return self.runner

    def die(self) -> None:
        """Whatever the worker held is gone with it, and its group goes on without it."""
        runner, self.runner = self.runner, None
        assert runner is not None
        runner._intake.close()
        if hasattr(runner._work, "_applier"):
            runner._work._applier.close(1)
        runner._watchdog.close()

    def live(self, processor: Callable[[], Stateless | Stateful] = Poisoned, turns: int = 40) -> bool:
        """One process; whether it got through."""
        runner = self.start(processor())
        try:
            for _ in range(turns):
                runner.turn()
        except Dies:
            self.die()
            return False
        return True

    def send_and_see(self, event: str) -> None:
        """The worker goes on as usual, once the mirror has what it was given."""
        self.send(event)
        assert self.runner is not None
        deadline = time.monotonic() + 10
        while event not in self.done():
            assert time.monotonic() < deadline
            self.runner.turn()

    def done(self) -> list[str]:
        values = [(r.value or b"").decode() for r in self.broker.committed_records(Topic.TRANSITIONS, 0)]
        return [value.split()[2] for value in values]

    def dead(self) -> list[tuple[str, str]]:
        """Value and reason of each dead letter."""
        log = self.broker._logs[Topic.EVENTS_DLQ, 0]
        entries = [entry for entry in log if entry.readable()]
        return [((e.value or b"").decode(), dict(e.headers)["stagepost-reason"].decode()) for e in entries]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(transactions_module, "_PAUSE_S", 0.0)
    world = World()
    yield world
    if world.runner is not None:
        world.runner.close()


def refuse(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Abort], everything: bool = False) -> None:
    """The broker takes nothing that comes of a record whose name begins with ``unfit``."""
    real = MemoryProducer.send

    def send(self: MemoryProducer, emit: Emit, on_placed: Callable[[Placed], None] | None = None) -> None:
        if emit.topic == Topic.TRANSITIONS and (everything or b"unfit" in (emit.value or b"")):
            raise error()
        real(self, emit, on_placed)

    monkeypatch.setattr(MemoryProducer, "send", send)


def too_large() -> Unfit:
    return Unfit("sending: too large", too_large=True)


@pytest.mark.parametrize("places", [[0], [119], [57], [3, 4, 90]])
def test_a_record_that_the_broker_refuses_is_set_aside_and_all_others_are_done_once(
    world: World, monkeypatch: pytest.MonkeyPatch, places: list[int]
) -> None:
    refuse(monkeypatch, too_large)
    world.send(*(f"unfit{n}" if n in places else f"e{n}" for n in range(120)))
    assert world.live()
    assert sorted(world.done()) == sorted(event for _, event in world.sent if event.startswith("e"))
    assert sorted(world.dead()) == sorted((f"unfit{n}", "oversize") for n in places)
    world.send_and_see("e120")
    assert world.runner is not None
    assert all(owned.care is None for owned in world.runner._running.values())


def test_a_refused_batch_is_divided_without_a_new_membership_and_in_the_order_of_its_records(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, too_large)
    world.send(*(f"unfit{n}" if n == 30 else f"e{n}" for n in range(60)))
    assert world.live()
    for contact in {contact for contact, _ in world.sent}:
        expected = [event for c, event in world.sent if c == contact and event.startswith("e")]
        assert [event for event in world.done() if (contact, event) in world.sent] == expected
    aborted = world.counts.total["transactions_total", "aborted"]
    assert 0 < aborted <= 2 * 8 + 3


def test_a_search_that_takes_long_lets_the_group_see_a_poll_in_between_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, too_large)
    world.send(*(f"unfit{n}" if n == 30 else f"e{n}" for n in range(60)))
    runner = world.start(max_poll_s=0.0)
    deadline = time.monotonic() + 20
    while len(world.done()) < 59 or not world.dead():
        assert time.monotonic() < deadline
        before = runner._transaction
        runner.turn()
        assert runner._transaction <= before + 1
    assert sorted(world.done()) == sorted(event for _, event in world.sent if event.startswith("e"))
    assert world.dead() == [("unfit30", "oversize")]


def test_a_refusal_that_lies_in_no_record_ends_the_process_and_sets_nothing_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, lambda: Abort("timed out"), everything=True)
    world.send(*(f"e{n}" for n in range(20)))
    with pytest.raises(Stop, match="timed out"):
        world.live()
    assert (world.done(), world.dead()) == ([], [])
    assert all(world.mirror.attempt(partition) is None for partition in range(PARTITIONS))


def lives_until_through(world: World, processor: Callable[[], Stateless | Stateful] = Poisoned) -> int:
    while not world.live(processor):
        assert world.lives < 60
    return world.lives


@pytest.mark.parametrize("processor", [Poisoned, PoisonedCopying])
@pytest.mark.parametrize("place", [0, 33, 99])
def test_a_record_over_which_processes_end_is_found_and_set_aside(
    world: World, processor: Callable[[], Stateless | Stateful], place: int
) -> None:
    world.send(*("deadly" if n == place else f"e{n}" for n in range(100)))
    lives = lives_until_through(world, processor)
    assert sorted(world.done()) == sorted(event for _, event in world.sent if event != "deadly")
    assert world.dead() == [("deadly", "rule-error")]
    assert LIVES < lives <= 2 * LIVES + 8
    world.send_and_see("e100")
    assert all(world.mirror.attempt(partition) is None for partition in range(PARTITIONS))


def test_without_redis_the_count_of_deaths_begins_anew_and_nothing_else_happens(world: World) -> None:
    world.send("deadly", *(f"e{n}" for n in range(10)))
    for _ in range(3 * LIVES):
        assert not world.live()
        world.mirror.flush()
    assert world.dead() == []
    lives_until_through(world)
    assert world.dead() == [("deadly", "rule-error")]


def test_a_role_without_state_does_without_redis(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise MirrorUnavailable("refused")

    for name in ("attempt", "begin_attempt", "end_attempt"):
        monkeypatch.setattr(world.mirror, name, away)
    world.send(*(f"e{n}" for n in range(10)))
    assert world.live(Copying)
    assert len(world.done()) == 10


def test_a_batch_that_is_given_up_alive_leaves_no_mark_and_idle_partitions_never_count(world: World) -> None:
    world.send(*(f"e{n}" for n in range(10)))
    runner = world.start(Counting())
    seen: list[bool] = []

    def drop(step: str) -> None:
        if step == "send_offsets" and not seen:
            seen.append(True)
            other = MemoryLog(world.broker, "group", "other", Topic.EVENTS).intake(Topic.EVENTS)
            other.close()

    world.broker.fault = drop
    for _ in range(20):
        runner.turn()
    assert seen == [True]
    assert len(world.done()) == 10
    for _ in range(LIVES + 1):
        world.die()
        assert world.live(Counting)
    assert all(world.mirror.attempt(partition) is None for partition in range(PARTITIONS))


def test_a_crash_after_the_computing_is_no_death_over_a_record(world: World) -> None:
    world.send(*(f"e{n}" for n in range(10)))

    def die(step: str) -> None:
        if step == "flush":
            raise Dies

    for _ in range(3 * LIVES):
        world.broker.fault = die
        assert not world.live(Counting)
        world.broker.fault = lambda step: None
    assert world.live(Counting)
    assert (len(world.done()), world.dead()) == (10, [])


@pytest.mark.parametrize(("good_after", "stops"), [(3, False), (4, True)])
def test_a_worker_stops_before_it_sets_too_long_a_row_aside_and_not_for_as_many_with_good_ones_between(
    world: World, good_after: int, stops: bool
) -> None:
    for number in range(7):
        world.broker.publish(Emit(Topic.EVENTS, b"c", b"good" if number == good_after else b"bad", partition=1))
    runner = world.start(Refusing(), guard=GuardConfig(run=3))
    with pytest.raises(Stop, match="4 records in a row are dead letters") if stops else nullcontext():
        for _ in range(10):
            runner.turn()
    assert len(world.dead()) == (0 if stops else 6)


def test_a_state_that_cannot_be_read_stops_every_worker_and_sets_no_event_of_the_contact_aside(world: World) -> None:
    world.send(*("e",) * 20)
    for _ in range(2 * LIVES):
        with pytest.raises(Outdated, match=r"codec 9; run the version that wrote it"):
            world.live(Unreadable)
        world.die()
    assert [] == world.dead()


@pytest.mark.parametrize("processor", [Counting, Copying])
def test_the_latest_of_the_first_start_is_that_of_the_second_one_without_a_record_in_between(
    world: World, processor: Callable[[], Stateless | Stateful]
) -> None:
    world.send(*(f"old{n}" for n in range(40)))
    runner = world.start(processor(), start_from="latest")
    for _ in range(10):
        runner.turn()
    world.die()
    new = [f"new{n}" for n in range(40)]
    world.send(*new)
    runner = world.start(processor(), start_from="latest")
    for _ in range(10):
        runner.turn()
    assert sorted(new) == sorted(world.done())
