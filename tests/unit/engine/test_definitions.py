"""Records of a change of definitions: what is stored, where a change stands, what is kept."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from stagepost.engine.definitions import (
    TEXT_LIMIT,
    Activation,
    advance,
    begin,
    pack_activation,
    pack_definition,
    unpack_activation,
    unpack_definition,
)
from stagepost.engine.plan import Listing
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.state import number

TEXT = "journey: welcome\nstages:\n  - one: contact.subscribed\n  - two: {clicked: any}\n"


def read(text: str = TEXT, **more: object) -> Journey:
    journey = parse_journey(text, "welcome.yaml").journey
    assert journey is not None
    return replace(journey, **more)  # type: ignore[arg-type]


def activation(**more: object) -> Activation:
    return Activation(**({"seq": 7, "in_off": 90, "clock": 5, "versions": {"welcome": "a"}} | more))  # type: ignore[arg-type]


def begun(now: Activation, *new: Journey, known: bool = True) -> Activation:
    return begin(now, new, lambda version: known, seq=9, in_off=100, clock=8)


def listing(next_slot: int | None) -> Listing:
    return Listing((), next_slot, 16)


def test_an_activation_comes_back_as_it_was_packed_and_is_no_packed_state() -> None:
    whole = activation(slot=3, slots=16, before={"welcome": ("a", "z")}, stays={"x": {"y": 2}}, parked={"old": "b"})
    assert unpack_activation(pack_activation(whole)) == whole
    assert pack_activation(whole)[0] == 0


def test_what_is_no_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="definitions"):
        unpack_activation(b"\x02...")


def test_a_definition_comes_back_with_its_lines() -> None:
    journey = read()
    packed = pack_definition(journey)
    assert packed is not None
    assert unpack_definition(packed, ("welcome", journey.version)) == journey


def test_a_definition_that_means_something_else_by_now_is_not_to_be_had() -> None:
    packed = pack_definition(read())
    assert packed is not None
    assert unpack_definition(packed, ("welcome", "00000000")) is None
    assert unpack_definition(b"\x00cut", ("welcome", "00000000")) is None


def test_a_definition_of_any_size_is_no_danger_to_a_transaction() -> None:
    noise = random.Random(1)
    text = TEXT + "".join(f"# {noise.getrandbits(400):x}\n" for _ in range(9_000))
    journey = read(text)
    assert len(text) > 1.5 * TEXT_LIMIT
    assert (pack_definition(journey), pack_definition(replace(journey, text=""))) == (None, None)


def test_a_change_begins_at_the_first_slot_and_says_what_runs_were_on() -> None:
    then = begun(activation(), read(version="b"))
    assert (then.seq, then.in_off, then.clock, then.versions) == (9, 100, 8, {"welcome": "b"})
    assert (then.slot, then.before, then.stays, then.parked) == (0, {"welcome": ("a",)}, {}, {})
    assert then.kept() == {("welcome", "a"), ("welcome", "b")}


def test_a_new_journey_has_nobody_to_bring_up() -> None:
    then = begun(activation(), read(version="a"), read(name="second", version="c"))
    assert (then.slot, then.before) == (None, {})


def test_runs_finish_on_a_version_that_can_still_be_had() -> None:
    finishing = read(version="b", on_change="finish")
    assert begun(activation(), finishing).stays == {"welcome": {"a": 0}}
    assert begun(activation(), finishing, known=False).stays == {}
    again = begun(activation(stays={"welcome": {"z": 4}}), finishing)
    assert (again.stays, again.before) == ({"welcome": {"a": 0, "z": 4}}, {"welcome": ("a", "z")})


def test_counts_of_an_unchanged_journey_go_on() -> None:
    then = begun(activation(stays={"welcome": {"z": 4}}), read(version="a"), read(name="second", version="c"))
    assert then.stays == {"welcome": {"z": 4}}


def test_a_journey_that_is_gone_is_remembered_until_it_comes_back() -> None:
    gone = begun(activation())
    assert (gone.versions, gone.parked, gone.slot) == ({}, {"welcome": "a"}, None)
    assert gone.kept() == {("welcome", "a")}
    back = begun(gone, read(version="a"))
    assert (back.parked, back.before, back.slot) == ({}, {"welcome": ("a",)}, 0)


def test_a_change_goes_on_slot_by_slot_and_counts_who_stays() -> None:
    then = begun(activation(), read(version="b", on_change="finish"))
    then = advance(then, listing(5), {("welcome", number("a")): 2})
    assert (then.slot, then.slots, then.stays, then.before) == (5, 16, {"welcome": {"a": 2}}, {"welcome": ("a",)})
    then = advance(then, listing(None), {("welcome", number("a")): 1})
    assert (then.slot, then.stays, then.before) == (None, {"welcome": {"a": 3}}, {})
    assert then.kept() == {("welcome", "a"), ("welcome", "b")}


def test_a_version_is_dropped_when_nobody_is_left_on_it_and_not_before_all_were_asked() -> None:
    then = begun(activation(), read(version="b", on_change="finish"))
    then = advance(then, listing(5), {})
    assert then.stays == {"welcome": {"a": 0}}
    then = advance(then, listing(None), {("welcome", number("a")): 1})
    then = advance(then, None, {("welcome", number("a")): -1})
    assert (then.stays, then.kept()) == ({}, {("welcome", "b")})
