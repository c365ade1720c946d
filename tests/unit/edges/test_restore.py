"""Steps S2 to S6 over the broker and the mirror in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import pytest
from msgspec import structs
from tests.timers import due_in

from stagepost.edges import restore as module
from stagepost.edges.clock import Clock
from stagepost.edges.errors import MirrorUnavailable, OffsetMoved, Outdated, PartitionsChanged, RestoreStuck
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.ports import PROTO, Checkpoint, NoCounters
from stagepost.edges.restore import Readers, Restore, Restored, RestoreSettings
from stagepost.edges.transactions import Kind, Transactions
from stagepost.edges.watchdog import Watchdog
from stagepost.engine.attempts import Attempt
from stagepost.engine.plan import Emit, PartitionPlan, Topic

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000
AT_NOW = Clock(wall_us=lambda: NOW)


def due_of(value: bytes) -> int | None:
    """States of these tests end with their due time; 0 is none."""
    return int(value.split(b"@")[1]) or None


class World:
    """One partition with its broker, its mirror, and a producer that commits batches to it."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.broker = MemoryBroker({Topic.EVENTS: 1, Topic.STATE: 1}, now=NOW)
        self.mirror = MemoryMirror()
        self.log = MemoryLog(self.broker, "group", "id", Topic.EVENTS)
        self.intake = self.log.intake(Topic.EVENTS)
        self.intake.poll(0, 0)
        self.watchdog = watchdog
        self.transactions = self.new_transactions(codec=1)
        self.nonces = (f"nonce {number}" for number in count(1))

    def new_transactions(self, codec: int, partitions: int = 0) -> Transactions:
        kind = Kind(Topic.STATE, codec=codec, writer="one", partitions=partitions)
        return Transactions(
            self.log.producer,
            self.intake.committed,
            kind,
            NoCounters(),
            self.watchdog,
            budget_s=1,
            failpoint=lambda name: None,
            stopping=lambda: False,
        )

    def commit(self, seq: int, states: Mapping[str, bytes | None]) -> None:
        plan = PartitionPlan(partition=0, seq=seq, next_offset=10 * seq, clock=seq, states=states)
        self.transactions.carry_out([plan], self.intake.membership())

    def restore(self, clock: Clock = AT_NOW, **changes: object) -> Restore:
        settings = RestoreSettings(
            state=Topic.STATE,
            codec=1,
            partitions=1,
            topic_id=self.log.topic_id(Topic.STATE),
            start_from="earliest",
            rebuild=False,
            all_states=True,
            max_age_us=2 * DAY,
            stuck_after_s=60.0,
        )
        return Restore(
            0,
            structs_replace(settings, changes),
            self.log,
            self.intake,
            self.mirror,
            Readers(self.log, Topic.STATE),
            due_of,
            new_nonce=lambda: next(self.nonces),
            failpoint=lambda name: None,
            clock=clock,
            forgets=lambda value: value.startswith(b"gone"),
        )

    def restored(self, clock: Clock = AT_NOW, **changes: object) -> Restored:
        steps = self.restore(clock, **changes).steps()
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                result: Restored = finished.value
                return result

    def checkpoint(self) -> Checkpoint:
        found = self.mirror.checkpoint(0)
        assert found is not None
        return found


def structs_replace(settings: RestoreSettings, changes: dict[str, object]) -> RestoreSettings:
    return RestoreSettings(**{**settings.__dict__, **changes})


@pytest.fixture(scope="module")
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(lambda what: None)
    yield watchdog
    watchdog.close()


@pytest.fixture
def world(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "_ASK_AGAIN_S", 0.001)
    return World(watchdog)


def test_a_new_partition_begins_where_it_is_told(world: World) -> None:
    for offset in range(3):
        assert world.broker.publish(Emit(Topic.EVENTS, b"k", b"v")) == offset
    restored = world.restored(start_from="latest")
    assert (restored.control, restored.next_offset, due_in(world.mirror)) == (None, 3, {})
    assert (world.checkpoint().seq, world.checkpoint().partial) == (0, False)


def test_an_empty_mirror_becomes_the_fold_of_the_state_topic(world: World) -> None:
    world.commit(1, {"a": b"1@5", "b": b"1@0"})
    world.commit(2, {"a": b"2@7", "c": b"1@9"})
    world.commit(3, {"b": None, "c": b"2@0"})
    restored = world.restored()
    assert restored.control is not None
    assert (restored.control.seq, restored.next_offset, restored.checkpoint.asof) == (3, 30, NOW)
    assert restored.states == {"a": b"2@7", "c": b"2@0"}
    assert due_in(world.mirror) == {"a": 7}
    assert restored.checkpoint == world.checkpoint()


def test_the_story_of_an_erased_contact_goes_where_the_process_ended_before_it_was_forgotten(world: World) -> None:
    world.commit(1, {"a": b"1@5", "b": b"1@0"})
    world.restored()
    world.mirror.tell(0, [("a", b"a move"), ("b", b"a move")])
    world.commit(2, {"a": b"gone@7"})
    world.restored()
    assert (list(world.mirror.story(0, "a")), list(world.mirror.story(0, "b"))) == ([], [b"a move"])


def test_an_older_mirror_is_brought_forward_without_a_wipe(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    nonce = world.restored().checkpoint.nonce
    world.commit(2, {"a": b"2@0"})
    restored = world.restored()
    assert (restored.checkpoint.seq, restored.checkpoint.nonce) == (2, nonce)
    assert restored.states == {"a": b"2@0"}


def test_a_mirror_at_the_committed_batch_is_taken_as_it_is(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    before = world.restored().checkpoint
    world.mirror.values[0]["a"] = b"not read again@0"
    restored = world.restored()
    assert restored.checkpoint == before
    assert restored.states == {"a": b"not read again@0"}


def test_more_states_than_one_call_takes_arrive_whole(world: World) -> None:
    states = {f"c{number}": b"%d@%d" % (number, number) for number in range(3500)}
    for seq in range(1, 8):
        world.commit(seq, dict(list(states.items())[(seq - 1) * 500 : seq * 500]))
    restored = world.restored()
    assert restored.states == states
    assert len(due_in(world.mirror, enough=1000)) == 3499


@pytest.mark.parametrize(
    "stale",
    [{"topic_id": "another topic"}, {"codec": 0}, {"proto": 0}, {"asof": NOW - 3 * DAY}, {"coff": 99}, {"seq": 9}],
    ids=["topic", "codec", "protocol", "age", "offset beyond the end", "batch beyond the end"],
)
def test_a_mirror_that_cannot_be_trusted_is_wiped_and_rebuilt(world: World, stale: dict[str, object]) -> None:
    world.commit(1, {"a": b"1@5"})
    before = world.restored().checkpoint
    world.mirror.checkpoints[0] = structs.replace(before, **stale)
    world.mirror.values[0]["zombie"] = b"1@1"
    restored = world.restored()
    assert restored.states == {"a": b"1@5"}
    assert restored.checkpoint.nonce != before.nonce


@pytest.mark.parametrize("newer", [{"codec": 2}, {"proto": PROTO + 1}], ids=["codec", "protocol"])
def test_an_older_worker_leaves_a_newer_mirror_as_it_is(world: World, newer: dict[str, object]) -> None:
    world.commit(1, {"a": b"1@5"})
    before = structs.replace(world.restored().checkpoint, **newer)
    world.mirror.checkpoints[0] = before
    with pytest.raises(Outdated, match="was written by a newer version of stagepost"):
        world.restored()
    assert (world.checkpoint(), world.mirror.states(0)) == (before, {"a": b"1@5"})


def test_an_older_worker_refuses_a_state_topic_of_a_newer_one_also_without_a_mirror(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.transactions = world.new_transactions(codec=2)
    world.commit(2, {"a": b"2@5"})
    world.mirror.flush()
    with pytest.raises(Outdated, match="codec 2, protocol 1; this one knows codec 1"):
        world.restored()


def test_an_offset_of_a_newer_protocol_is_not_taken_for_one_that_was_moved(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.broker._committed["group", 0] = (10, f'{{"s":1,"v":{PROTO + 1}}}')
    with pytest.raises(Outdated, match=f"protocol {PROTO + 1}; this one knows protocol {PROTO}"):
        world.restored()


def test_a_state_that_cannot_be_read_ends_the_process_with_its_place(world: World) -> None:
    world.commit(1, {"a": b"1@5", "b": b"no number@x"})
    with pytest.raises(Outdated, match=r"state\[0\] holds a state that this version of stagepost cannot read"):
        world.restored()


def test_what_a_former_owner_began_is_found(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    assert world.restored().attempt is None
    begun = Attempt(in_off=10, records=5, end=15)
    world.mirror.begin_attempt(0, begun, "other")
    assert world.restored().attempt == begun


def test_while_redis_is_away_the_restore_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.commit(1, {"a": b"1@5"})
    away = True

    def checkpoint(partition: int) -> Checkpoint | None:
        if away:
            raise MirrorUnavailable("refused")
        return MemoryMirror.checkpoint(world.mirror, partition)

    monkeypatch.setattr(world.mirror, "checkpoint", checkpoint)
    restore = world.restore()
    steps = restore.steps()
    assert not restore.mirror_away
    for _ in range(5):
        next(steps)
    assert restore.mirror_away
    away = False
    assert len(list(steps)) > 0
    assert not restore.mirror_away


def test_a_batch_that_was_half_written_is_finished(world: World) -> None:
    world.commit(1, {"a": b"1@5", "b": b"1@0"})
    before = world.restored().checkpoint
    world.commit(2, {"a": b"2@0", "b": b"2@0"})
    world.mirror.checkpoints[0] = structs.replace(before, partial=True)
    world.mirror.values[0]["a"] = b"2@0"
    restored = world.restored()
    assert restored.states == {"a": b"2@0", "b": b"2@0"}
    assert (restored.checkpoint.seq, restored.checkpoint.partial) == (2, False)


def test_a_half_written_batch_that_kafka_lost_is_not_taken_for_whole(world: World) -> None:
    before = world.restored().checkpoint
    world.mirror.checkpoints[0] = structs.replace(before, partial=True)
    world.mirror.values[0] = {"a": b"lost@0"}
    restored = world.restored()
    assert (restored.states, restored.checkpoint.partial) == ({}, False)
    assert restored.checkpoint.nonce != before.nonce


def test_half_a_mirror_without_a_batch_number_is_not_believed(world: World) -> None:
    """Its states came before the first control record, and one of them may have a tombstone that is gone by now."""
    world.commit(1, {"a": b"1@5"})
    empty = structs.replace(world.restored().checkpoint, seq=0, coff=0, in_off=0, asof=NOW, control=None)
    world.mirror.checkpoints[0] = structs.replace(empty, partial=True)
    world.mirror.values[0] = {"old": b"1@3"}
    restored = world.restored()
    assert restored.states == {"a": b"1@5"}
    assert restored.checkpoint.nonce != empty.nonce


def test_the_number_of_partitions_is_pinned_in_the_log_too(world: World) -> None:
    world.transactions = world.new_transactions(codec=1, partitions=1)
    world.commit(1, {"a": b"1@5"})
    assert world.restored().states == {"a": b"1@5"}
    world.mirror.checkpoints.clear()  # Redis is lost
    with pytest.raises(PartitionsChanged, match="written for 1 partitions, the input has 2"):
        world.restored(partitions=2)


def test_a_process_that_was_stopped_itself_does_not_take_that_for_a_standstill(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    other = MemoryLog(world.broker, "group", "other", Topic.EVENTS).producer()
    other.init(1)
    other.begin()
    other.send(Emit(Topic.STATE, b"zombie", b"1@1", partition=0))
    world.commit(2, {"a": b"2@0"})
    hours = iter(range(100))
    steps = world.restore(clock=Clock(lambda: 3600.0 * next(hours), lambda: NOW)).steps()
    for _ in range(20):
        next(steps)
    other.abort(1)
    restored = world.restored()
    assert (restored.checkpoint.seq, restored.states) == (2, {"a": b"2@0"})


def test_a_process_that_stood_still_until_tombstones_were_gone_reads_all_of_it_anew(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.restored()
    world.commit(2, {"a": None})
    world.commit(3, {"b": b"1@0"})
    shown = [NOW]

    def wall_us() -> int:
        now = shown[-1]
        if now == NOW:  # the mirror is found young enough, and then nothing happens for days
            world.broker.compact(Topic.STATE, 0, 0)
            shown.append(NOW + 2 * DAY)
        return now

    assert world.restored(Clock(wall_us=wall_us)).states == {"b": b"1@0"}


def test_the_end_of_what_can_be_read_is_not_the_end_of_the_restore(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    other = MemoryLog(world.broker, "group", "other", Topic.EVENTS).producer()
    other.init(1)
    other.begin()
    other.send(Emit(Topic.STATE, b"zombie", b"1@1", partition=0))
    world.commit(2, {"a": b"2@0"})
    steps = world.restore().steps()
    for _ in range(50):
        next(steps)
    assert world.checkpoint().seq < 2
    other.abort(1)
    restored = world.restored()
    assert (restored.checkpoint.seq, restored.states) == (2, {"a": b"2@0"})


def test_a_transaction_that_stays_open_ends_the_process_with_the_cause(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    other = MemoryLog(world.broker, "group", "other", Topic.EVENTS).producer()
    other.init(1)
    other.begin()
    other.send(Emit(Topic.STATE, b"zombie", b"1@1", partition=0))
    world.commit(2, {"a": b"2@0"})
    with pytest.raises(RestoreStuck, match="batch 2: a transaction has been open since offset 3"):
        world.restored(stuck_after_s=0.02)


def test_a_mirror_for_another_number_of_partitions_is_refused(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.restored()
    with pytest.raises(PartitionsChanged, match="written for 1 partitions, the input has 6"):
        world.restored(partitions=6)


def test_an_offset_without_our_metadata_was_moved(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.broker.move_offset("group", 0, 3)
    with pytest.raises(OffsetMoved, match="at 3 it has no metadata"):
        world.restored()
    restored = world.restored(rebuild=True)
    assert restored.control is not None
    assert (restored.next_offset, restored.control.seq, restored.states) == (3, 1, {"a": b"1@5"})


def test_an_offset_before_the_first_batch_was_moved_too(world: World) -> None:
    world.broker.move_offset("group", 0, 3)
    with pytest.raises(OffsetMoved):
        world.restored()
    restored = world.restored(rebuild=True)
    assert (restored.next_offset, restored.control) == (3, None)


def test_without_a_committed_offset_the_newest_control_record_tells_it(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    world.commit(2, {"a": b"2@5"})
    world.broker._committed.clear()
    restored = world.restored()
    assert restored.control is not None
    assert (restored.next_offset, restored.control.seq, restored.states) == (20, 2, {"a": b"2@5"})


def test_states_are_read_only_when_they_are_wanted(world: World) -> None:
    world.commit(1, {"a": b"1@5"})
    assert world.restored(all_states=False).states == {}


def test_two_partitions_take_turns_at_the_one_reader(world: World) -> None:
    readers = Readers(world.log, Topic.STATE)
    first = readers.take(0)
    assert first is not None
    assert readers.take(1) is None
    readers.give_back(1)
    assert readers.take(1) is None
    readers.give_back(0)
    assert readers.take(1) is first
    readers.close()
