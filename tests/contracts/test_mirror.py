"""One suite over the memory twin and real Redis: what the runner relies on of a mirror."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from msgspec import structs
from tests.timers import due_in

from stagepost.edges.errors import MirrorUnavailable, Outdated
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.local_redis import LocalRedis, start_local_redis
from stagepost.edges.memory import MemoryMirror
from stagepost.edges.mirror import RedisMirror, apply_in_chunks, connect
from stagepost.edges.ports import Checkpoint, Mirror, Outcome, Part, StateChange, Timers
from stagepost.edges.processes import ProcessGroup
from stagepost.engine.attempts import Attempt
from stagepost.engine.story import STORY


def at(seq: int, nonce: str = "n", *, partial: bool = False, step: str = "") -> Checkpoint:
    return Checkpoint(
        seq=seq,
        coff=10 * seq,
        in_off=100 * seq,
        topic_id="t",
        nonce=nonce,
        asof=seq,
        codec=1,
        partitions=4,
        control=b"{}",
        partial=partial,
        step=step,
    )


@pytest.fixture(params=["memory", "redis"])
def mirror(request: pytest.FixtureRequest) -> Iterator[Mirror]:
    if request.param == "memory":
        yield MemoryMirror()
        return
    client = connect(request.getfixturevalue("redis_url"))
    client.flushall()
    mirror = RedisMirror(client, MirrorKeys.of("", "journey"))
    yield mirror
    mirror.close()


def flush(mirror: Mirror) -> None:
    if isinstance(mirror, MemoryMirror):
        mirror.flush()
    else:
        assert isinstance(mirror, RedisMirror)
        mirror._client.flushall()


def test_an_empty_mirror_has_no_checkpoint_and_answers_no_read(mirror: Mirror) -> None:
    assert mirror.checkpoint(0) is None
    assert mirror.read(0, ["a"]) is None
    assert due_in(mirror) == {}
    assert mirror.states(0) == {}


def test_a_batch_is_applied_with_its_checkpoint_and_read_back_with_its_number(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    changes: list[StateChange] = [("a", b"1", 50), ("b", b"\x00\xff", None)]
    assert mirror.apply(0, 0, changes, at(1)) is Outcome.OK
    assert mirror.checkpoint(0) == at(1)
    snapshot = mirror.read(0, ["b", "a", "nobody"])
    assert snapshot is not None
    assert (1, "n", {"a": b"1", "b": b"\x00\xff", "nobody": None}) == (snapshot.seq, snapshot.nonce, snapshot.values)
    assert due_in(mirror) == {"a": 50}


def test_tombstones_remove_the_state_and_its_timer(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [("a", b"1", 50), ("b", b"2", 60), ("c", b"3", 70)], at(1))
    mirror.apply(0, 1, [("a", None, None), ("b", b"22", None), ("c", b"33", 7)], at(2))
    assert mirror.states(0) == {"b": b"22", "c": b"33"}
    assert due_in(mirror) == {"c": 7}


def test_timers_are_read_in_the_order_in_which_they_are_due_with_the_batch_that_they_show(mirror: Mirror) -> None:
    late = 1_772_409_600_000_001
    mirror.wipe(0, at(0))
    assert mirror.timers(0, -1, 9) == Timers(0, "n", False, {}, None)
    states: list[StateChange] = [("e", b"1", late), ("a", b"1", 7), ("b", b"1", 5), ("c", b"1", 7), ("d", b"1", None)]
    mirror.apply(0, 0, states, at(1))
    assert mirror.timers(1, -1, 9) is None
    assert mirror.timers(0, -1, 9) == Timers(1, "n", False, {"b": 5, "a": 7, "c": 7, "e": late}, None)
    assert mirror.timers(0, -1, 1) == Timers(1, "n", False, {"b": 5}, 5)
    assert mirror.timers(0, 5, 1) == Timers(1, "n", False, {"a": 7, "c": 7}, 7)
    assert mirror.timers(0, 7, 1) == Timers(1, "n", False, {"e": late}, late)
    assert mirror.timers(0, late, 1) == Timers(1, "n", False, {}, None)


def test_timers_of_half_a_batch_say_so(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    half = structs.replace(at(0), partial=True, step="batch:1")
    mirror.apply(0, 0, [("a", b"1", 7)], half, Part("batch", 0, ""))
    seen = mirror.timers(0, -1, 9)
    assert seen is not None
    assert (seen.seq, seen.partial) == (0, True)


def listed(mirror: Mirror, enough: int) -> list[str]:
    """All keys, slot after slot."""
    found: list[str] = []
    slot: int | None = 0
    while slot is not None:
        listing = mirror.keys(0, slot, enough)
        assert listing is not None
        assert (listing.seq, listing.nonce) == (1, "n")
        found += listing.keys
        assert listing.next_slot is None or slot < listing.next_slot < mirror.slots
        slot = listing.next_slot
    return found


@pytest.mark.parametrize("enough", [1, 7, 1000])
def test_keys_are_listed_slot_by_slot_each_once_with_the_batch_that_they_show(mirror: Mirror, enough: int) -> None:
    keys = [f"c{n}" for n in range(60)]
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [(key, b"1", None) for key in keys], at(1))
    assert sorted(listed(mirror, enough)) == sorted(keys)


def test_an_empty_mirror_lists_nothing(mirror: Mirror) -> None:
    assert mirror.keys(0, 0, 10) is None


def test_what_is_told_of_a_contact_is_kept_in_order_and_the_newest_stay(mirror: Mirror) -> None:
    mirror.tell(0, [("a", b"1"), ("b", b"x"), ("a", b"2")])
    mirror.tell(1, [("a", b"elsewhere")])
    assert (list(mirror.story(0, "a")), list(mirror.story(0, "b"))) == ([b"1", b"2"], [b"x"])
    mirror.tell(0, [("a", str(n).encode()) for n in range(3, 3 + STORY)])
    assert list(mirror.story(0, "a")) == [str(n).encode() for n in range(3, 3 + STORY)]


def test_a_contact_is_forgotten_and_what_is_told_after_stays(mirror: Mirror) -> None:
    mirror.tell(0, [("a", b"1"), ("b", b"1")])
    mirror.tell(0, [("a", b""), ("a", b"2")])
    assert (list(mirror.story(0, "a")), list(mirror.story(0, "b")), list(mirror.story(0, "c"))) == ([b"2"], [b"1"], [])


BEGUN = Attempt(in_off=7, records=500, end=700, deaths=2, alone=1)


def test_a_batch_that_was_begun_is_known_to_whoever_asks_next(mirror: Mirror) -> None:
    assert mirror.attempt(0) is None
    mirror.begin_attempt(0, BEGUN, "one")
    assert (mirror.attempt(0), mirror.attempt(1)) == (BEGUN, None)
    mirror.begin_attempt(0, structs.replace(BEGUN, deaths=3), "two")
    assert mirror.attempt(0) == structs.replace(BEGUN, deaths=3)


def test_only_who_began_a_batch_says_that_it_is_over(mirror: Mirror) -> None:
    mirror.begin_attempt(0, BEGUN, "one")
    mirror.end_attempt(0, "two")
    assert mirror.attempt(0) == BEGUN
    mirror.end_attempt(0, "one")
    assert mirror.attempt(0) is None
    mirror.end_attempt(0, "one")


def test_a_batch_that_was_begun_outlives_a_wipe_and_is_no_part_of_the_state(mirror: Mirror) -> None:
    mirror.begin_attempt(0, BEGUN, "one")
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [("a", b"1", None)], at(1))
    assert (mirror.states(0), mirror.attempt(0)) == ({"a": b"1"}, BEGUN)
    flush(mirror)
    assert mirror.attempt(0) is None


def test_a_story_is_no_part_of_the_state(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.tell(0, [("a", b"1")])
    assert (mirror.states(0), list(mirror.story(0, "a"))) == ({}, [b"1"])


def test_what_is_told_again_goes_before_what_is_there_once_and_only_where_there_is_room(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.tell(0, [("a", b"3"), ("a", b"4")])
    assert mirror.retell(0, "n", [("a", b"3"), ("a", b"2"), ("b", b"x"), ("a", b"1")], b"mark")
    assert mirror.retell(0, "n", [("a", b"1")], b"mark 2")
    assert (list(mirror.story(0, "a")), list(mirror.story(0, "b"))) == ([b"1", b"2", b"3", b"4"], [b"x"])
    assert mirror.retell(0, "n", [("a", f"older {n}".encode()) for n in range(2 * STORY)], b"mark 3")
    assert list(mirror.story(0, "a"))[-5:] == [b"older 0", b"1", b"2", b"3", b"4"]
    assert len(mirror.story(0, "a")) == STORY
    assert (mirror.retold(0), mirror.retold(1)) == (b"mark 3", None)


def test_nothing_is_told_again_to_another_mirror(mirror: Mirror) -> None:
    assert not mirror.retell(0, "n", [("a", b"1")], b"mark")
    mirror.wipe(0, at(0, "m"))
    assert not mirror.retell(0, "n", [("a", b"1")], b"mark")
    assert (list(mirror.story(0, "a")), mirror.retold(0)) == ([], None)


def test_partitions_do_not_meet(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.wipe(1, at(0))
    mirror.apply(0, 0, [("a", b"1", 50)], at(1))
    assert mirror.checkpoint(1) == at(0)
    assert mirror.states(1) == {}
    mirror.wipe(1, at(0, "m"))
    assert mirror.states(0) == {"a": b"1"}


def test_a_batch_applied_twice_is_already_there_and_changes_nothing(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [("a", b"1", None)], at(1))
    mirror.apply(0, 1, [("a", b"2", None)], at(2))
    assert mirror.apply(0, 0, [("a", b"1", None)], at(1)) is Outcome.ALREADY
    assert mirror.apply(0, 1, [("a", b"other", None)], at(2)) is Outcome.ALREADY
    assert mirror.states(0) == {"a": b"2"}


def test_a_missing_batch_is_a_gap(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    assert mirror.apply(0, 1, [("a", b"1", None)], at(2)) is Outcome.GAP
    assert mirror.checkpoint(0) == at(0)
    assert mirror.states(0) == {}


def test_a_rolled_back_mirror_refuses_the_next_batch(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    for seq in (1, 2, 3):
        mirror.apply(0, seq - 1, [("a", str(seq).encode(), None)], at(seq))
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [("a", b"1", None)], at(1))
    assert mirror.apply(0, 3, [("a", b"4", None)], at(4)) is Outcome.GAP
    snapshot = mirror.read(0, ["a"])
    assert snapshot is not None
    assert snapshot.seq == 1


def test_a_flushed_mirror_refuses_everything(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    mirror.apply(0, 0, [("a", b"1", 5)], at(1))
    flush(mirror)
    assert mirror.apply(0, 1, [("a", b"2", 5)], at(2)) is Outcome.GAP
    assert mirror.read(0, ["a"]) is None
    assert due_in(mirror) == {}


def test_a_late_write_of_before_a_wipe_is_refused_by_its_nonce(mirror: Mirror) -> None:
    mirror.wipe(0, at(0, "old"))
    mirror.wipe(0, at(0, "new"))
    assert mirror.apply(0, 0, [("a", b"1", None)], at(1, "old")) is Outcome.GAP
    assert mirror.states(0) == {}


def test_a_partial_batch_is_read_as_such_and_finished_by_its_last_part(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    assert mirror.apply(0, 0, [("a", b"1", None)], at(0, partial=True)) is Outcome.OK
    unfinished = mirror.read(0, ["a"])
    assert unfinished is not None
    assert unfinished.partial
    assert mirror.apply(0, 0, [("b", b"1", None)], at(1)) is Outcome.OK
    snapshot = mirror.read(0, ["a", "b"])
    assert snapshot is not None
    assert (snapshot.partial, snapshot.values) == (False, {"a": b"1", "b": b"1"})


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1000, 1007])
def test_a_batch_of_any_size_arrives_whole(mirror: Mirror, count: int) -> None:
    mirror.wipe(0, at(0))
    changes: list[StateChange] = [(f"c{i}", b"%d" % i, i) for i in range(count)]
    assert apply_in_chunks(mirror, 0, at(0), changes, at(1), "x") is Outcome.OK
    assert mirror.checkpoint(0) == at(1)
    assert mirror.states(0) == {key: value for key, value, _ in changes}
    assert due_in(mirror) == {key: due for key, _, due in changes}
    assert apply_in_chunks(mirror, 0, at(0), changes, at(1), "x") is Outcome.ALREADY
    assert apply_in_chunks(mirror, 0, at(2), changes, at(3), "x") is Outcome.GAP


def test_after_scripts_were_forgotten_midway_no_answer_is_taken_for_another_and_the_batch_can_be_repeated(
    redis_url: str,
) -> None:
    client = connect(redis_url)
    client.flushall()
    mirror = RedisMirror(client, MirrorKeys.of("", "journey"))
    mirror.wipe(0, at(0))

    parts = [Part("x", number) for number in range(3)]

    def chunks() -> Iterator[tuple[list[StateChange], Checkpoint, Part]]:
        yield [("a", b"1", None)], at(0, partial=True, step=parts[0].step), parts[0]
        client.script_flush()
        yield [("b", b"1", None)], at(0, partial=True, step=parts[1].step), parts[1]
        yield [("c", b"1", None)], at(1), parts[2]

    with pytest.raises(MirrorUnavailable, match="forgot its scripts"):
        mirror.apply_in_turn(0, 0, chunks())
    assert mirror.checkpoint(0) == at(0, partial=True, step="x:1")
    changes: list[StateChange] = [(f"c{i}", b"x", i) for i in range(1_200)]
    assert apply_in_chunks(mirror, 0, at(0), changes, at(1), "x") is Outcome.OK
    assert mirror.checkpoint(0) == at(1)
    assert due_in(mirror) == {key: due for key, _, due in changes}
    mirror.close()


def test_a_restore_goes_over_several_batches_at_once(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    assert mirror.apply(0, 0, [("a", b"9", None)], at(9)) is Outcome.OK
    assert mirror.apply(0, 8, [("a", b"8", None)], at(9)) is Outcome.ALREADY
    assert mirror.apply(0, 4, [("a", b"4", None)], at(10)) is Outcome.GAP
    assert mirror.checkpoint(0) == at(9)


def test_many_timers_come_in_pages(mirror: Mirror) -> None:
    mirror.wipe(0, at(0))
    changes: list[StateChange] = [(f"c{i}", b"x", 1_793_610_847_120_000 + i) for i in range(10_500)]
    apply_in_chunks(mirror, 0, at(0), changes, at(1), "x")
    assert due_in(mirror) == {key: due for key, _, due in changes}


def test_a_full_redis_refuses_a_batch_as_a_whole_and_takes_it_later(breakable_redis: LocalRedis) -> None:
    client = connect(breakable_redis.url)
    client.flushall()
    mirror = RedisMirror(client, MirrorKeys.of("", "journey"))
    mirror.wipe(0, at(0))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(MirrorUnavailable, match="writing states to the mirror"):
            mirror.apply(0, 0, [("a", b"1", 5)], at(1))
    finally:
        client.config_set("maxmemory", 0)
    assert mirror.checkpoint(0) == at(0)
    assert mirror.states(0) == {}
    assert mirror.apply(0, 0, [("a", b"1", 5)], at(1)) is Outcome.OK
    mirror.close()


def test_a_stopped_redis_is_unavailable_and_no_gap() -> None:
    with ProcessGroup() as group:
        server = start_local_redis(group)
        mirror = RedisMirror(connect(server.url), MirrorKeys.of("", "journey"))
        mirror.wipe(0, at(0))
        server.kill()
        with pytest.raises(MirrorUnavailable):
            mirror.apply(0, 0, [], at(1))
        with pytest.raises(MirrorUnavailable):
            mirror.read(0, ["a"])
        mirror.close()


def test_a_foreign_hash_in_place_of_the_checkpoint_is_no_checkpoint(redis_url: str) -> None:
    client = connect(redis_url)
    client.flushall()
    mirror = RedisMirror(client, MirrorKeys.of("", "journey"))
    client.hset("{stagepost:0}:ck", mapping={"seq": "many"})
    assert mirror.checkpoint(0) is None
    mirror.wipe(0, structs.replace(at(0), control=b""))
    assert mirror.checkpoint(0) == structs.replace(at(0), control=b"")
    mirror.close()


def test_a_server_of_a_version_that_will_do_is_asked_once(mirror: Mirror) -> None:
    mirror.check()
    mirror.check()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            [b"server", b"redis", b"version", b"6.0.9", b"proto", 2],
            r"this is redis 6\.0\.9; stagepost needs Redis 6\.2",
        ),
        (redis.ResponseError("unknown command `HELLO`, with args beginning with: "), r"older than 6\.0"),
    ],
)
def test_an_older_redis_is_refused(monkeypatch: pytest.MonkeyPatch, answer: object, why: str) -> None:
    client = connect("redis://localhost:1")

    def hello(*words: str) -> object:
        assert words == ("HELLO",)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client, "execute_command", hello)
    with pytest.raises(Outdated, match=why):
        RedisMirror(client, MirrorKeys.of("", "journey")).check()


def begun(mirror: Mirror, application: str = "x") -> None:
    """The first of two calls."""
    mirror.wipe(0, at(0))
    first = Part(application, 0)
    assert mirror.apply(0, 0, [("a", b"1", None)], at(0, partial=True, step=first.step), first) is Outcome.OK


def test_the_last_call_of_a_batch_is_refused_where_its_first_ones_were_rolled_back(mirror: Mirror) -> None:
    begun(mirror)
    mirror.wipe(0, at(0))  # as a server that comes back from an older dump
    assert mirror.apply(0, 0, [("b", b"1", None)], at(1), Part("x", 1)) is Outcome.GAP
    assert mirror.states(0) == {}


def test_nobody_goes_on_where_another_one_has_begun_unless_he_saw_it(mirror: Mirror) -> None:
    begun(mirror, "x")
    last = [("b", b"2", None)]
    assert mirror.apply(0, 0, last, at(1)) is Outcome.GAP
    assert mirror.apply(0, 0, last, at(1), Part("y", 1)) is Outcome.GAP
    assert mirror.apply(0, 0, last, at(1), Part("y", 0)) is Outcome.GAP
    seen = mirror.checkpoint(0)
    assert seen is not None
    begins = Part("y", 0, seen.step)
    assert mirror.apply(0, 0, [("a", b"2", None)], at(0, partial=True, step=begins.step), begins) is Outcome.OK
    assert mirror.apply(0, 0, last, at(1), Part("x", 1)) is Outcome.GAP
    assert mirror.apply(0, 0, last, at(1), Part("y", 1, seen.step)) is Outcome.OK
    assert (mirror.states(0), mirror.checkpoint(0)) == ({"a": b"2", "b": b"2"}, at(1))


def test_a_batch_that_was_interrupted_is_begun_again_by_who_began_it(mirror: Mirror) -> None:
    begun(mirror)
    begun_again = Part("x", 0)
    assert (
        mirror.apply(0, 0, [("a", b"1", None)], at(0, partial=True, step=begun_again.step), begun_again) is Outcome.OK
    )
    assert mirror.apply(0, 0, [("b", b"1", None)], at(1), Part("x", 1)) is Outcome.OK
    assert mirror.checkpoint(0) == at(1)
