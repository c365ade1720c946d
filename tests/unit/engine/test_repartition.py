from __future__ import annotations

from collections.abc import Sequence

import pytest

from stagepost.engine.definitions import ACTIVATION_KEY, Activation, definition_key, pack_activation, unpack_activation
from stagepost.engine.plan import CONTROL_KEY, Control, Emit, Topic
from stagepost.engine.repartition import (
    NotAtRest,
    Source,
    closing_records,
    home_of,
    moved_memberships,
    moved_states,
    refuse_unless_settled,
    source_of,
)
from stagepost.events import decode_tally_batch
from stagepost.journey.state import ACTIVE, ContactState, Run, number, pack, unpack

NAMES = [f"c{n}" for n in range(400)]
OLD = "0ld0ld00"


def control(seq: int, clock: int) -> Control:
    return Control(
        seq=seq, in_off=10 * seq, clock=clock, n_out=0, n_states=0, definitions={"j": "v"}, codec=2, proto=1, writer="w"
    )


def activation(seq: int = 3, **more: object) -> Activation:
    return Activation(**{"seq": seq, "in_off": 5, "clock": 7, "versions": {"j": "v"}, **more})  # type: ignore[arg-type]


def state(**fields: object) -> bytes:
    return pack(ContactState(**fields))  # type: ignore[arg-type]


def closed(sources: Sequence[Source]) -> list[Emit]:
    return [emit for emit, _ in closing_records(sources, lambda partition: 100 + partition, 2, "me", 1)]


def test_each_contact_goes_to_its_home_and_those_at_home_stay() -> None:
    here = {name: state(subscribed=n) for n, name in enumerate(NAMES) if home_of(name, 3) == 1}
    moved = {name: (home, value) for name, home, value in moved_states(here, 1, 5)}
    assert moved == {name: (home_of(name, 5), value) for name, value in here.items() if home_of(name, 5) != 1}
    assert 0 < len(moved) < len(here)
    assert list(moved_states({name: v for name, v in here.items() if name not in moved}, 1, 5)) == []


def test_a_moved_state_forgets_the_number_of_a_batch_of_its_old_partition_and_nothing_else() -> None:
    name = next(name for name in NAMES if home_of(name, 5) != 0)
    [(_, _, value)] = moved_states({name: state(epoch=9, erased=4, due=5), ACTIVATION_KEY: b"\x00"}, 0, 5)
    assert unpack(value) == ContactState(erased=4, due=5)


def test_memberships_go_with_their_contact_whatever_its_id_holds() -> None:
    names = ["a/b", "a", "x/y/z"]
    moved = {key: home for key, home, _ in moved_memberships({f"j/{name}": b"1" for name in names}, -1, 5)}
    assert moved == {f"j/{name}": home_of(name, 5) for name in names}


def test_every_partition_is_closed_by_a_control_record_that_goes_on_where_it_was() -> None:
    key = definition_key(("j", "v"))
    sources = [
        source_of(0, {ACTIVATION_KEY: pack_activation(activation()), key: b"\x00text"}, control(4, clock=50)),
        source_of(1, {ACTIVATION_KEY: pack_activation(activation(8)), key: b"\x00text"}, control(9, clock=40)),
        source_of(2, {}, None),
    ]
    records = list(closing_records(sources, lambda partition: 100 + partition, 2, "me", 1))
    last = {emit.partition: found for emit, found in records if found is not None}
    assert [(last[p].seq, last[p].in_off, last[p].clock) for p in range(3)] == [(5, 40, 40), (10, 90, 40), (1, 102, 40)]  # type: ignore[union-attr]
    states = {(e.partition, e.key): e.value for e, _ in records if e.topic is Topic.STATE}
    assert [p for p in range(3) if states[p, key.encode()] == b"\x00text"] == [0, 1, 2]
    begun = {p: unpack_activation(states[p, ACTIVATION_KEY.encode()] or b"").seq for p in range(3)}
    assert begun == {0: 3, 1: 8, 2: 1}
    tallies = [(decode_tally_batch(e.value or b""), e.partition) for e, _ in records if e.topic is Topic.TALLIES]
    assert [(tally.p, tally.seq, to) for tally, to in tallies] == [(0, 5, 0), (0, 5, 1), (1, 10, 0), (1, 10, 1)]
    for partition in range(3):
        mine = [emit for emit, _ in records if (emit.topic, emit.partition) == (Topic.STATE, partition)]
        assert mine[-1].key == CONTROL_KEY


def test_runs_that_finish_on_an_older_version_are_counted_where_they_now_are() -> None:
    run = Run(status=ACTIVE, number=1, version=number(OLD))
    before = activation(stays={"j": {OLD: 3}})
    sources = [
        source_of(0, {ACTIVATION_KEY: pack_activation(before), "a": state(runs={"j": run})}, control(4, 5)),
        source_of(1, {"b": state(runs={"j": run}), "c": state(runs={"j": run})}, None),
        source_of(2, {"d": state()}, None),
    ]
    written = {e.partition: e.value for e in closed(sources) if e.key == ACTIVATION_KEY.encode()}
    stays = [unpack_activation(written[p] or b"").stays for p in range(3)]
    assert stays == [{"j": {OLD: 1}}, {"j": {OLD: 2}}, {}]


def test_where_nothing_was_ever_processed_nothing_is_written() -> None:
    assert closed([source_of(0, {}, None), source_of(1, {}, None)]) == []


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (activation(slot=0, before={"j": ("u",)}), "a change of journeys is under way in partitions 1"),
        (activation(versions={"j": "w"}), "under different versions"),
    ],
)
def test_a_change_of_journeys_has_to_be_over(second: Activation, said: str) -> None:
    sources = [
        source_of(p, {ACTIVATION_KEY: pack_activation(each)}, control(4, 5))
        for p, each in enumerate([activation(), second])
    ]
    with pytest.raises(NotAtRest, match=said):
        refuse_unless_settled(sources)
    refuse_unless_settled([sources[0], source_of(1, {}, None)])
