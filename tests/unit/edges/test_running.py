"""What runs, as the mirror shows it: definitions, contacts, what is told of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stagepost.edges.errors import Stop
from stagepost.edges.memory import MemoryMirror
from stagepost.edges.ports import Checkpoint
from stagepost.edges.running import RunningJourneys
from stagepost.engine.journey_worker import JourneyProcessor
from stagepost.engine.plan import Control, Record, Topic, encode_control
from stagepost.events import murmur2_partition, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.parse import parse_journey

PARTITIONS = 2
START = parse_rfc3339("2026-03-02T00:00:00Z")
TEXT = "journey: welcome\nstages: [{one: contact.subscribed}, {two: {clicked: any}}]\n"
CONTACTS = [c for c in (f"c{n}" for n in range(30)) if murmur2_partition(c.encode(), PARTITIONS) == 1]


def record(offset: int, contact: str, **fields: Any) -> Record:
    event = {"id": f"e{offset}", "type": "contact.subscribed", "occurred_at": rfc3339(START + offset), **fields}
    value = msgspec.json.encode({**event, "contact": contact})
    return Record(Topic.EVENTS, 1, offset, START + offset, contact.encode(), value)


def at(seq: int, control: bytes = b"") -> Checkpoint:
    return Checkpoint(
        seq=seq, coff=0, in_off=0, topic_id="t", nonce="n", asof=0, codec=2, partitions=PARTITIONS, control=control
    )


@pytest.fixture
def mirror() -> MemoryMirror:
    """Partition 1 with one batch; partition 0 without any."""
    journey = parse_journey(TEXT, "welcome.yaml").journey
    assert journey is not None
    processor = JourneyProcessor(program=compile_program([journey]), tally_partitions=1, cache_contacts=100)
    partition = processor.open(1, PARTITIONS, None)
    records = [record(n, contact) for n, contact in enumerate(CONTACTS)]
    batch = processor.read(partition, records, len(records), None)
    processor.load(partition, dict.fromkeys(batch.needs))
    plan = processor.plan(partition, batch)
    assert plan is not None
    control = Control(
        seq=1,
        in_off=plan.next_offset,
        clock=plan.clock,
        n_out=0,
        n_states=0,
        definitions=dict(plan.definitions),
        codec=2,
        proto=1,
        writer="w",
    )
    mirror = MemoryMirror()
    mirror.piece = 3
    mirror.wipe(1, at(0))
    mirror.apply(
        1, 0, [(key, value, plan.due.get(key)) for key, value in plan.states.items()], at(1, encode_control(control))
    )
    mirror.tell(1, [*plan.told, *plan.told[:1]])
    return mirror


def test_partitions_are_known_from_any_that_was_processed(mirror: MemoryMirror) -> None:
    assert (RunningJourneys(mirror).partitions(), RunningJourneys(MemoryMirror()).partitions()) == (PARTITIONS, 0)


def test_a_partition_shows_its_definitions_and_where_it_is(mirror: MemoryMirror) -> None:
    running = RunningJourneys(mirror).running(1)
    assert running is not None
    assert (running.seq, running.next_offset, running.clock) == (1, len(CONTACTS), START + len(CONTACTS) - 1)
    ((version, definition),) = running.definitions.items()
    assert definition is not None
    assert (dict([version]), definition.text) == (running.activation.versions, TEXT)
    assert RunningJourneys(mirror).running(0) is None


def test_a_partition_from_before_definitions_were_stored_shows_their_names(mirror: MemoryMirror) -> None:
    for key in [key for key in mirror.values[1] if key.startswith("\x00")]:
        del mirror.values[1][key]
    running = RunningJourneys(mirror).running(1)
    assert running is not None
    assert (list(running.activation.versions), list(running.definitions.values())) == (["welcome"], [None])


def test_all_contacts_are_read_some_at_a_time(mirror: MemoryMirror) -> None:
    reader = RunningJourneys(mirror)
    pages = list(reader.states(1))
    assert sorted(contact for _, page in pages for contact, _ in page) == sorted(CONTACTS)
    assert (pages[-1][0], len(pages) > 2) == (reader.slots, True)
    assert all(state.runs["welcome"].place == "one" for _, page in pages for _, state in page)
    assert list(reader.states(0)) == []


def test_one_contact_is_found_in_its_partition(mirror: MemoryMirror) -> None:
    found = RunningJourneys(mirror).contact(CONTACTS[0])
    assert found is not None
    assert (found[0], found[1].runs["welcome"].place) == (1, "one")
    for unknown in ("nobody", "", "\x00definitions"):
        assert RunningJourneys(mirror).contact(unknown) is None
    assert RunningJourneys(MemoryMirror()).contact(CONTACTS[0]) is None


def test_what_was_told_twice_is_said_once(mirror: MemoryMirror) -> None:
    (told,) = RunningJourneys(mirror).story(1, CONTACTS[0])
    assert (told.to, told.kind, told.cause) == ("one", "enter", ("e0", "contact.subscribed", None, None))


def test_states_of_a_newer_version_are_named_as_that(mirror: MemoryMirror) -> None:
    mirror.values[1][CONTACTS[0]] = b"\xff"
    with pytest.raises(Stop, match="newer version"):
        RunningJourneys(mirror).contact(CONTACTS[0])
