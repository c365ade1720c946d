"""Steps N5 to N7, A, F and U against the broker in memory, with requests and answers that get lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from stagepost.edges import transactions as module
from stagepost.edges.clock import Clock
from stagepost.edges.errors import Abort, Drop, EdgeError, NewProducer, Refused, Retry, Stop, Unfit
from stagepost.edges.memory import MemoryBroker, MemoryIntake, MemoryLog, MemoryProducer
from stagepost.edges.ports import Committed, Membership, NoCounters
from stagepost.edges.transactions import Kind, Transactions
from stagepost.edges.watchdog import Watchdog
from stagepost.engine.plan import CONTROL_KEY, Emit, PartitionPlan, Topic, decode_control

TOPICS = {Topic.EVENTS: 2, Topic.STATE: 2, Topic.TRANSITIONS: 1}


class Counts(NoCounters):
    """Sums up what was counted."""

    def __init__(self) -> None:
        self.total: Counter[tuple[str, ...]] = Counter()

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        self.total.update(counts)


class World:
    """A broker, one member of the group and its transactions."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.broker = MemoryBroker(TOPICS)
        self.counts = Counts()
        self.watchdog = watchdog
        self.later_s = 0.0
        self.late_from: list[MemoryProducer] = []
        self.ended = 0
        self.log = MemoryLog(self.broker, "group", "id", Topic.EVENTS)
        self.intake: MemoryIntake = self.log.intake(Topic.EVENTS)
        self.intake.poll(0, 0)
        self.transactions = self.new_transactions()

    def new_transactions(self, writer: str = "one") -> Transactions:
        made = Transactions(
            self.log.producer,
            self.intake.committed,
            Kind(Topic.STATE, codec=1, writer=writer),
            self.counts,
            self.watchdog,
            budget_s=0.3,
            failpoint=lambda name: None,
            stopping=lambda: False,
            clock=Clock(lambda: time.monotonic() + self.later_s),
        )
        made.open()
        return made

    def carry_out(self, seq: int, member: Membership | None = None) -> None:
        self.transactions.carry_out(plans(seq), member or self.intake.membership())

    def fail(self, *faults: tuple[str, EdgeError]) -> None:
        """Each fault happens once, in this order."""
        left = list(faults)

        def fault(step: str) -> None:
            if left and left[0][0] == step:
                raise left.pop(0)[1]

        self.broker.fault = fault

    def values(self, topic: Topic, partition: int = 0) -> list[bytes | None]:
        return [r.value for r in self.broker.committed_records(topic, partition) if r.key != CONTROL_KEY]

    def seqs(self, partition: int) -> list[int]:
        records = self.broker.committed_records(Topic.STATE, partition)
        return [decode_control(r.value or b"").seq for r in records if r.key == CONTROL_KEY]

    def producers_replaced(self) -> dict[str, int]:
        return {name[1]: n for name, n in self.counts.total.items() if name[0] == "producers_replaced_total"}


def plans(seq: int) -> Sequence[PartitionPlan]:
    return [
        PartitionPlan(
            partition=partition,
            seq=seq,
            next_offset=10 * seq,
            clock=seq,
            emits=(Emit(Topic.TRANSITIONS, b"k", b"%d/%d" % (partition, seq)),),
            states={"a": b"a%d" % seq, "b": None},
        )
        for partition in (0, 1)
    ]


@pytest.fixture(scope="module")
def watchdog() -> Iterator[Watchdog]:
    def expired(what: str) -> None:
        raise AssertionError(what)

    watchdog = Watchdog(expired)
    yield watchdog
    watchdog.close()


@pytest.fixture
def world(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)
    return World(watchdog)


def test_outputs_states_control_record_and_offset_are_committed_together(world: World) -> None:
    written = world.transactions.carry_out(plans(1), world.intake.membership())
    assert world.values(Topic.TRANSITIONS) == [b"0/1", b"1/1"]
    for partition in (0, 1):
        records = world.broker.committed_records(Topic.STATE, partition)
        assert [(r.key, r.value) for r in records[:-1]] == [(b"a", b"a1"), (b"b", None)]
        assert (records[-1].key, records[-1].value) == (CONTROL_KEY, written[partition].control)
        placed = written[partition].placed
        assert placed is not None
        assert placed.offset == records[-1].offset
        control = decode_control(records[-1].value or b"")
        assert (control.seq, control.in_off, control.n_out, control.n_states, control.writer) == (1, 10, 1, 2, "one")
        committed = world.intake.committed(partition, 1)
        assert committed is not None
        assert (committed.offset, committed.seq) == (10, 1)


@pytest.mark.parametrize("step", ["flush", "send_offsets", "commit", "commit!"])
def test_what_can_be_repeated_is_repeated_and_the_producer_replaced_before_the_next_batch(
    world: World, step: str
) -> None:
    world.carry_out(1)
    if step == "commit!":
        world.fail((step, NewProducer("no answer")))
    else:
        world.fail((step, Retry("later")))
    world.carry_out(2)
    world.carry_out(3)
    assert world.seqs(0) == world.seqs(1) == [1, 2, 3]
    assert world.producers_replaced() == ({"unknown": 1} if step == "commit!" else {"retriable": 1})


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_a_late_copy_of_a_slow_request_to_end_a_transaction_ends_nothing_else(world: World, ending: str) -> None:
    world.carry_out(1)
    assert world.producers_replaced() == {}
    left = ["flush"] if ending == "abort" else []

    def fault(step: str) -> None:
        if step in left:
            left.remove(step)
            raise Abort("to be run again")
        if step == ending and not world.late_from:
            producer = world.broker._owners["id"]
            world.late_from.append(producer)
            world.broker.hold_end(producer, ending == "commit")  # the client sent the request a second time
            world.later_s += 0.1
        elif step == "send_offsets" and world.late_from:
            world.ended += world.broker.release_ends()

    world.broker.fault = fault
    world.carry_out(2)
    world.carry_out(3)
    assert world.producers_replaced() == {f"slow_{ending}": 1}
    assert (world.ended, world.seqs(0), world.seqs(1)) == (0, [1, 2, 3], [1, 2, 3])
    assert world.values(Topic.TRANSITIONS) == [b"0/1", b"1/1", b"0/2", b"1/2", b"0/3", b"1/3"]


@pytest.mark.parametrize("step", ["flush", "flush!", "send_offsets", "send_offsets!", "commit", "commit!"])
def test_a_lost_request_or_answer_commits_the_batch_exactly_once(world: World, step: str) -> None:
    world.carry_out(1)
    world.fail((step, NewProducer("lost")))
    world.carry_out(2)
    world.carry_out(3)
    assert world.seqs(0) == world.seqs(1) == [1, 2, 3]
    assert world.values(Topic.TRANSITIONS) == [b"0/1", b"1/1", b"0/2", b"1/2", b"0/3", b"1/3"]
    assert world.counts.total["transactions_total", "unknown"] == 1
    assert world.counts.total["transactions_total", "committed"] == 3


@pytest.mark.parametrize("step", ["flush", "commit!"])
def test_a_lost_first_batch_is_committed_exactly_once(world: World, step: str) -> None:
    world.fail((step, NewProducer("lost")))
    world.carry_out(1)
    assert world.seqs(0) == [1]


def test_an_aborted_batch_is_run_again_and_leaves_nothing_behind(world: World) -> None:
    world.fail(("send_offsets", Abort("try again")), ("flush", Abort("and again")))
    world.carry_out(1)
    assert world.seqs(0) == [1]
    assert world.values(Topic.TRANSITIONS) == [b"0/1", b"1/1"]
    assert world.counts.total["transactions_total", "aborted"] == 2


def test_a_commit_that_is_refused_when_it_is_repeated_may_have_been_carried_out_before(world: World) -> None:
    world.fail(("commit!", Retry("no answer")), ("commit", Abort("in no transaction")))
    world.carry_out(1)
    assert world.seqs(0) == world.seqs(1) == [1]
    assert world.counts.total["transactions_total", "unknown"] == 1


@pytest.mark.parametrize("attempts", [module.DIVISIBLE_ATTEMPTS, module.ATTEMPTS])
def test_a_batch_that_is_aborted_each_time_is_refused_with_its_place_and_the_reason(
    world: World, attempts: int
) -> None:
    reason = Unfit("too large", too_large=True)
    world.fail(*[("flush", reason)] * attempts)
    with pytest.raises(Refused, match=r"input \[0\] below offset 10, \[1\] below offset 10: too large") as refused:
        world.transactions.carry_out(plans(1), world.intake.membership(), attempts)
    assert refused.value.__cause__ is reason
    assert world.intake.committed(0, 1) is None
    assert world.values(Topic.TRANSITIONS) == []
    assert world.counts.total["transactions_total", "aborted"] == attempts
    assert world.producers_replaced() == {"refused": attempts - 1}
    world.carry_out(1)
    assert world.seqs(0) == [1]


def test_an_outcome_that_is_lost_each_time_ends_the_process(world: World) -> None:
    world.fail(*[("commit", NewProducer("lost"))] * module.TRIES)
    with pytest.raises(Stop, match="nothing came of 6 attempts at a batch, input"):
        world.carry_out(1)
    assert world.intake.committed(0, 1) is None


def test_an_abort_that_fails_is_done_by_the_start_of_the_next_producer(world: World) -> None:
    world.fail(("flush", Abort("first")), ("abort", NewProducer("second")))
    world.carry_out(1)
    assert world.seqs(0) == [1]
    assert world.producers_replaced() == {"fatal": 1}


def test_a_batch_of_an_older_generation_is_dropped(world: World) -> None:
    world.carry_out(1)
    member = world.intake.membership()
    other = world.log.intake(Topic.EVENTS)
    with pytest.raises(Drop):
        world.carry_out(2, member)
    assert world.seqs(0) == [1]
    assert world.counts.total["fenced_total",] == 1
    other.close()


def test_a_fenced_producer_is_replaced_and_the_batch_committed(world: World) -> None:
    world.carry_out(1)
    world.log.producer().init(1)
    world.carry_out(2)
    assert world.seqs(0) == [1, 2]
    assert world.producers_replaced() == {"fenced": 1}
    assert world.counts.total["fenced_total",] == 1


@pytest.mark.parametrize("batches", [[2], [2, 3]])
def test_an_unknown_outcome_after_which_another_owner_went_on_is_dropped(world: World, batches: list[int]) -> None:
    world.carry_out(1)
    others = World.__new__(World)
    others.__dict__.update(world.__dict__)
    others.log = MemoryLog(world.broker, "group", "other", Topic.EVENTS)

    def go_on(step: str) -> None:
        if step == "send_offsets":
            world.broker.fault = lambda step: None
            theirs = others.new_transactions("two")
            for seq in batches:
                theirs.carry_out(plans(seq), world.intake.membership())
            raise NewProducer("lost, and late")

    world.broker.fault = go_on
    with pytest.raises(Drop, match="another owner"):
        world.carry_out(2)
    assert world.seqs(0) == [1, *batches]


def test_a_producer_that_cannot_be_started_ends_the_process(world: World) -> None:
    fail: Callable[[str], None] = _always("init")
    world.broker.fault = fail
    with pytest.raises(Stop, match="no transactional producer could be started: away"):
        world.new_transactions()


def test_a_broker_that_goes_away_is_waited_for_however_long_it_takes(world: World) -> None:
    world.carry_out(1)
    seen: list[tuple[str, bool]] = []

    def away(step: str) -> None:
        seen.append((step, world.transactions.waiting))
        if step in ("send_offsets", "init") and len(seen) < 40:
            world.later_s += 600.0
            raise Retry("away")

    world.broker.fault = away
    world.carry_out(2)
    inits = [waiting for step, waiting in seen if step == "init"]
    assert (len(inits) > 30, set(inits)) == (True, {True})
    assert (world.seqs(0), world.transactions.waiting) == ([1, 2], False)


def test_who_waits_for_the_broker_and_is_asked_to_stop_stops(world: World) -> None:
    world.carry_out(1)
    asked: list[str] = []

    def away(step: str) -> None:
        asked.append(step)
        if step in ("send_offsets", "init"):
            world.later_s += 1.0
            raise Retry("away")

    world.broker.fault = away
    world.transactions._stopping = lambda: len(asked) > 20
    with pytest.raises(Stop, match="does Kafka answer"):
        world.carry_out(2)


def _always(name: str) -> Callable[[str], None]:
    def fault(step: str) -> None:
        if step == name:
            raise Retry("away")

    return fault


class Watching(Watchdog):
    """Remembers which call it looks after."""

    def __init__(self) -> None:
        super().__init__(lambda what: None)
        self.now: str | None = None

    @contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        assert seconds > 0.3, "longer than the call's own timeout"
        assert self.now is None
        self.now = what
        try:
            yield
        finally:
            self.now = None


def test_every_call_that_waits_for_the_broker_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    watching, seen = Watching(), set()
    world = World(watching)

    def watched(step: str) -> None:
        assert watching.now == step.removesuffix("!")
        seen.add(watching.now)

    def asked(partition: int, timeout_s: float) -> Committed | None:
        watched("committed")
        return MemoryIntake.committed(world.intake, partition, timeout_s)

    monkeypatch.setattr(world.transactions, "_committed", asked)
    world.broker.fault = watched
    world.carry_out(1)
    failures = [Abort("first"), NewProducer("second")]

    def failing(step: str) -> None:
        watched(step)
        if step == "flush" and failures:
            raise failures.pop(0)

    world.broker.fault = failing
    world.carry_out(2)
    assert seen == {"init", "flush", "send_offsets", "commit", "abort", "committed"}
    world.transactions.close()
