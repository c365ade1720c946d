from __future__ import annotations

import msgspec

from stagepost.engine.story import Told, pack_told, told_of, unpack_told
from stagepost.events import Cause, TimerRef, Transition

MOVE = Transition(
    id="t1",
    journey="j",
    version="v",
    contact="c",
    run="c/j/1",
    from_="a",
    to="b",
    kind="advance",
    at="2026-03-02T00:00:00.000Z",
    rule="stages.b",
    cause=Cause("e1", "email.clicked", "n-1", "m", "https://example.com/", False),
    timer=None,
    credit=None,
    last_send=None,
    goal=False,
    move=2,
    dwell_s=1,
    best="b",
    late=True,
)


def test_a_move_is_told_with_its_cause_and_comes_back_as_it_was_packed() -> None:
    told = told_of(MOVE)
    assert unpack_told(pack_told(told)) == told
    assert (told.source, told.to, told.move, told.late) == ("a", "b", 2, True)
    assert told.cause == ("e1", "email.clicked", "n-1", "https://example.com/")


def test_a_timer_is_told_with_its_due_time() -> None:
    move = msgspec.structs.replace(MOVE, cause=None, timer=TimerRef("quiet", "2026-03-02T00:00:00.000Z"))
    assert told_of(move).timer == ("quiet", "2026-03-02T00:00:00.000Z")


def test_a_move_is_small_because_there_are_twenty_of_each_contact() -> None:
    assert len(pack_told(told_of(MOVE))) < 150


def test_what_another_version_wrote_is_passed_over() -> None:
    assert unpack_told(b"\x93\x01\x02\x03") is None


def test_told_has_the_names_of_a_transition() -> None:
    renamed = {"source": "from_"}
    assert {renamed.get(name, name) for name in Told.__struct_fields__} <= set(Transition.__struct_fields__)
