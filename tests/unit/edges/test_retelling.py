"""Moves told again over the log and the mirror in memory: which, in what order, of whom, and from where it goes on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import structs

from stagepost.edges import retelling as module
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.ports import PROTO, Checkpoint, StateRecord
from stagepost.edges.retelling import Retelling
from stagepost.engine.plan import Emit, Topic
from stagepost.engine.story import STORY, Told, pack_told, unpack_told
from stagepost.events import Transition, encode_json, murmur2_partition
from stagepost.journey.state import ContactState, pack

PARTITIONS = 4
CONTACTS = [f"c{n}" for n in range(40)]


def at(nonce: str = "n") -> Checkpoint:
    return Checkpoint(
        seq=1, coff=1, in_off=1, topic_id="t", nonce=nonce, asof=1, codec=1, proto=PROTO, partitions=PARTITIONS
    )


def move(contact: str, number: int) -> Transition:
    return Transition(
        id=f"{contact} {number}",
        journey="j",
        version="v",
        contact=contact,
        run=f"{contact}/j/1",
        from_=None,
        to=f"s{number}",
        kind="advance",
        at="2026-11-02T09:14:07.000Z",
        rule="stages.s",
        cause=None,
        timer=None,
        credit=None,
        last_send=None,
        goal=False,
        move=number,
        dwell_s=None,
        best="s",
        late=False,
        replay=False,
    )


class World:
    """A topic of moves, and mirrors of all input partitions in which every contact is alive."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.broker = MemoryBroker({Topic.EVENTS: PARTITIONS, Topic.TRANSITIONS: partitions})
        self.mirror = MemoryMirror()
        self.log = MemoryLog(self.broker, "group", "id", Topic.EVENTS)
        self.lose()

    def lose(self, nonce: str = "n") -> None:
        self.mirror.flush()
        for partition in range(PARTITIONS):
            mine = {contact: pack(ContactState()) for contact in CONTACTS if place(contact) == partition}
            self.mirror.values[partition] = mine
            self.mirror.checkpoints[partition] = at(nonce)

    def erase(self, contact: str) -> None:
        self.mirror.values[place(contact)][contact] = pack(ContactState(erased=5))
        self.mirror.tell(place(contact), [(contact, b"")])

    def publish(self, *moves: Transition) -> None:
        for each in moves:
            self.broker.publish(Emit(Topic.TRANSITIONS, each.contact.encode(), encode_json(each)))

    def retelling(self) -> Retelling:
        return Retelling(lambda: self.log, self.mirror)

    def retell(self, *partitions: int, nonce: str = "n", retelling: Retelling | None = None) -> int:
        """Tells all again; returns in how many turns."""
        retelling = retelling or self.retelling()
        for partition in partitions or range(PARTITIONS):
            retelling.add(partition, at(nonce))
        turns = 1
        while retelling.turn():
            turns += 1
        return turns

    def told(self, contact: str) -> list[int]:
        return [each.move for each in map(read, self.mirror.story(place(contact), contact))]


def place(contact: str) -> int:
    return murmur2_partition(contact.encode(), PARTITIONS)


def read(data: bytes) -> Told:
    told = unpack_told(data)
    assert told is not None
    return told


@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 6, 8, 12])
def test_every_contact_has_its_moves_again_in_order_however_many_partitions_each_topic_has(partitions: int) -> None:
    world = World(partitions)
    for number in range(1, 4):
        world.publish(*(move(contact, number) for contact in CONTACTS))
    world.retell()
    assert [world.told(contact) for contact in CONTACTS] == [[1, 2, 3]] * len(CONTACTS)
    assert read(world.mirror.story(place("c1"), "c1")[0]) == Told(
        "c1 1", "j", "v", "c1/j/1", 1, "advance", None, "s1", "2026-11-02T09:14:07.000Z", "stages.s", None, None
    )


def test_the_newest_are_kept_and_what_was_told_meanwhile_stands_behind() -> None:
    world = World()
    world.publish(*(move("c1", number) for number in range(1, 31)))
    told = [move("c1", 30), move("c1", 31)]
    world.mirror.tell(place("c1"), [("c1", pack_told(module.told_of(each))) for each in told])
    world.retell()
    assert world.told("c1") == list(range(32 - STORY, 32))


def test_an_erased_contact_is_not_told_of_and_one_without_a_state_neither() -> None:
    world = World()
    world.publish(move("c1", 1), move("c2", 1), move("nobody", 1))
    world.erase("c1")
    world.retell()
    assert [world.told(contact) for contact in ("c1", "c2", "nobody")] == [[], [1], []]


def test_a_contact_that_is_erased_while_its_moves_are_told_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.publish(move("c1", 1), move("c2", 1))
    retell = world.mirror.retell

    def erased_just_before(partition: int, nonce: str, told: Sequence[tuple[str, bytes]], mark: bytes) -> bool:
        if partition == place("c1"):
            world.erase("c1")
        return retell(partition, nonce, told, mark)

    monkeypatch.setattr(world.mirror, "retell", erased_just_before)
    world.retell()
    assert [world.told(contact) for contact in ("c1", "c2")] == [[], [1]]


def test_it_goes_on_where_the_one_before_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 3)
    world = World(partitions=1)
    world.publish(*(move("c1", number) for number in range(1, 11)))
    first = world.retelling()
    first.add(place("c1"), at())
    assert first.turn()
    assert world.told("c1") == [8, 9, 10]
    assert 4 == world.retell(place("c1"))
    assert world.told("c1") == list(range(1, 11))


def test_what_was_told_under_this_name_is_not_read_again_and_under_another_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.publish(move("c1", 1))
    world.retell()
    reads: list[int] = []
    reader = world.log.reader(Topic.TRANSITIONS)
    seek = reader.seek
    monkeypatch.setattr(reader, "seek", lambda partition, offset: (reads.append(partition), seek(partition, offset)))
    monkeypatch.setattr(world.log, "reader", lambda topic: reader)
    world.retell()
    assert reads == []
    world.lose("m")
    world.retell(nonce="m")
    assert (world.told("c1"), reads) == ([1], [place("c1")])


def test_a_mirror_that_was_lost_again_meanwhile_is_left_to_who_restores_it() -> None:
    world = World()
    world.publish(move("c1", 1))
    retelling = world.retelling()
    retelling.add(place("c1"), at())
    world.lose("m")
    assert not retelling.turn()
    assert (world.told("c1"), world.mirror.retold(place("c1"))) == ([], None)


def test_records_that_are_no_moves_are_passed_over() -> None:
    world = World()
    world.broker.publish(Emit(Topic.TRANSITIONS, b"c1", b"not json"))
    world.publish(move("c1", 1))
    world.broker.publish(Emit(Topic.TRANSITIONS, b"c1", None))
    world.retell()
    assert world.told("c1") == [1]


def test_a_broker_that_shows_no_end_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT_S", 0.0)
    world = World()
    world.publish(move("c1", 1))
    retelling = world.retelling()
    retelling.add(place("c1"), at())
    reader = world.log.reader(Topic.TRANSITIONS)
    silent: list[StateRecord] = []
    monkeypatch.setattr(reader, "read", lambda limit, timeout_s: silent)
    monkeypatch.setattr(world.log, "reader", lambda topic: reader)
    with pytest.raises(module.Unstable):
        retelling.turn()
    monkeypatch.undo()
    reader.seek(place("c1"), 0)
    assert 1 <= world.retell(place("c1"), retelling=world.retelling())
    assert world.told("c1") == [1]


def test_the_thread_tells_and_ends_when_it_is_closed() -> None:
    world = World()
    world.publish(move("c1", 1))
    retelling = world.retelling()
    retelling.want(place("c1"), at())
    for _ in range(1000):
        if world.told("c1"):
            break
        module.time.sleep(0.01)
    retelling.close()
    assert world.told("c1") == [1]
    assert retelling._thread is not None
    assert not retelling._thread.is_alive()


def test_an_error_that_nobody_foresaw_is_raised_at_the_next_wish() -> None:
    world = World()
    world.mirror.retold = None  # type: ignore[assignment, method-assign]
    retelling = world.retelling()
    retelling.want(0, at())
    assert retelling._thread is not None
    retelling._thread.join(10)
    with pytest.raises(TypeError):
        retelling.want(1, at())


def test_a_checkpoint_of_another_number_of_partitions_is_told_by_that_number() -> None:
    world = World()
    world.publish(*(move(contact, 1) for contact in CONTACTS))
    half = {contact: murmur2_partition(contact.encode(), 2) for contact in CONTACTS}
    world.mirror.values[0] = {contact: pack(ContactState()) for contact in CONTACTS}
    retelling = world.retelling()
    retelling.add(0, structs.replace(at(), partitions=2))
    while retelling.turn():
        pass
    assert {contact for contact in CONTACTS if world.mirror.story(0, contact)} == {
        contact for contact, partition in half.items() if partition == 0
    }
