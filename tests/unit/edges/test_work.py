"""Where a role without state begins; how states are listed for a change: never from a mirror that may lack some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from stagepost.edges.errors import OffsetMoved, Outdated
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.ports import PROTO, Checkpoint, Committed, NoCounters
from stagepost.edges.restore import Readers
from stagepost.edges.work import MirrorRefused, Owned, StatefulWork, StatelessWork
from stagepost.engine.journey_worker import JourneyProcessor
from stagepost.engine.plan import PartitionPlan, Sweep, TimersWanted, Topic
from stagepost.journey.compile import compile_program

AT = Checkpoint(seq=4, coff=0, in_off=0, topic_id="t", nonce="n", asof=0, codec=2, partitions=1)


@pytest.fixture
def mirror() -> MemoryMirror:
    mirror = MemoryMirror()
    mirror.wipe(0, AT)
    mirror.values[0] = {"a": b"1", "b": b"2"}
    return mirror


@pytest.fixture
def work(mirror: MemoryMirror) -> Iterator[StatefulWork]:
    log = MemoryLog(MemoryBroker({Topic.STATE: 1}), "g", "id", Topic.EVENTS)
    processor = JourneyProcessor(program=compile_program([]), tally_partitions=1, cache_contacts=1)

    def no_restore(partition: int) -> None:
        raise AssertionError("nothing is restored here")

    work = StatefulWork(
        processor,
        mirror,
        NoCounters(),
        no_restore,  # type: ignore[arg-type]
        Readers(log, Topic.STATE),
        1,
        "writer",
        lambda name: None,
    )
    yield work
    work.close(1)


def owned(applied_seq: int, nonce: str = "n") -> Owned:
    checkpoint = Checkpoint(seq=5, coff=0, in_off=0, topic_id="t", nonce=nonce, asof=0, codec=2, partitions=1)
    return Owned(
        number=0,
        next_offset=0,
        seq=5,
        broker_us=0,
        broker_at=0.0,
        active_at=0.0,
        checkpoint=checkpoint,
        applied_seq=applied_seq,
    )


class Intake:
    """Knows one committed offset."""

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def committed(self, partition: int, timeout_s: float) -> Committed:
        return self._committed


def start(committed: Committed, rebuild: bool = False) -> Owned:
    work = StatelessWork(None, Intake(committed), "earliest", None, "w", 30.0, rebuild)  # type: ignore[arg-type]
    try:
        next(work.restore(0))
    except StopIteration as finished:
        owned_: Owned = finished.value
        return owned_
    raise AssertionError("there was nothing to wait for")


def test_a_role_without_state_refuses_an_offset_that_it_did_not_write() -> None:
    ours, moved = Committed(7, 3, PROTO), Committed(5, None, None)
    assert (start(ours).next_offset, start(ours).seq) == (7, 3)
    with pytest.raises(OffsetMoved, match="--rebuild"):
        start(moved)
    assert (start(moved, rebuild=True).next_offset, start(moved, rebuild=True).seq) == (5, 0)
    with pytest.raises(Outdated, match="newer version"):
        start(Committed(7, 3, PROTO + 1))


def test_a_listing_shows_everybody_that_the_change_concerns(work: StatefulWork, mirror: MemoryMirror) -> None:
    listing = work._listing(owned(4), Sweep(slot=0, since=4))
    assert listing is not None
    assert (sorted(listing.keys), listing.next_slot, listing.slots) == (["a", "b"], None, mirror.slots)


def test_while_the_mirror_lacks_the_batch_before_the_change_nothing_is_listed(work: StatefulWork) -> None:
    assert work._listing(owned(4), Sweep(slot=0, since=5)) is None


def test_a_mirror_that_was_emptied_or_rolled_back_is_not_believed(work: StatefulWork) -> None:
    for partition in (owned(4, nonce="other"), owned(5)):
        with pytest.raises(MirrorRefused, match="lost"):
            work._listing(partition, Sweep(slot=0, since=4))


class Learning:
    """A processor that notes what it is told of timers."""

    def learn(self, partition: object, batch: object, due: Mapping[str, int], until: int | None) -> object:
        return due, until


def test_timers_are_learnt_as_of_the_newest_batch_be_it_in_the_mirror_or_not(
    work: StatefulWork, mirror: MemoryMirror
) -> None:
    mirror.dues[0] = {"a": 5, "b": 7, "c": 8, "d": 12}
    partition = owned(4)
    changed = {"a": None, "b": 9, "c": 6, "e": 4, "f": 8, "g": 3, "h": 11}
    partition.pending.append(PartitionPlan(partition=0, seq=5, next_offset=0, clock=0, due=changed))
    work._processor = Learning()  # type: ignore[assignment]
    # Up to 8, and behind 3: who is due then according to the newest batch.
    assert work._learn(partition, None, TimersWanted(3, 3)) == ({"c": 6, "e": 4, "f": 8}, 8)
    everything = {"b": 9, "c": 6, "d": 12, "e": 4, "f": 8, "h": 11}
    assert work._learn(partition, None, TimersWanted(3, 9)) == (everything, None)


def test_timers_of_a_mirror_that_was_emptied_or_rolled_back_are_not_believed(work: StatefulWork) -> None:
    for partition, why in ((owned(4, nonce="other"), "emptied"), (owned(5), "shows batch 4")):
        with pytest.raises(MirrorRefused, match=why):
            work._learn(partition, None, TimersWanted(-1, 9))
