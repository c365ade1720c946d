"""What this version writes into state topics, offsets and tallies, byte for byte: later ones have to read it.

Contact states have their golden bytes beside ``journey/state.py``'s tests, scopes theirs beside ``rollup_state.py``'s.
"""

from __future__ import annotations

from msgspec import json

from stagepost.edges.ports import PROTO, Committed, decode_committed, encode_metadata
from stagepost.engine.definitions import (
    Activation,
    definition_key,
    pack_activation,
    pack_definition,
    unpack_activation,
    unpack_definition,
)
from stagepost.engine.plan import Control, decode_control, encode_control
from stagepost.engine.rollup_state import pack_inputs, unpack_inputs
from stagepost.events import Tally, TallyBatch, decode_tally_batch, encode_json
from stagepost.rollup.watermark import Inputs

CONTROL = (
    b'{"seq":7,"in_off":42,"clock":1793610847120000,"n_out":3,"n_states":2,"definitions":{"welcome":"9f2c41d0"},'
    b'"codec":2,"proto":1,"writer":"journey-1.5f"}'
)

ACTIVATION = (
    b'\x00{"seq":7,"in_off":42,"clock":9,"versions":{"welcome":"9f2c41d0"},"slot":3,"slots":4096,'
    b'"before":{"welcome":["0a0a0a0a"]},"stays":{"old":{"0b0b0b0b":2}},"parked":{"gone":"0c0c0c0c"}}'
)

INPUTS = bytes.fromhex("0192a6696e707574739264810392cd0141cf00065f4791686a80")

DEFINITION = bytes.fromhex(
    "00789c6b5a569c5f5a949cbaac5caf3231376749496a45c9be2ca0505e6aa5954239577149627a6ab1954274a295427e5eaa5e622c17003b"
    "9d13f5"
)


def test_the_control_record() -> None:
    control = decode_control(CONTROL)
    assert control == Control(
        seq=7,
        in_off=42,
        clock=1_793_610_847_120_000,
        n_out=3,
        n_states=2,
        definitions={"welcome": "9f2c41d0"},
        codec=2,
        proto=1,
        writer="journey-1.5f",
    )
    assert encode_control(control) == CONTROL


def test_the_metadata_of_an_offset() -> None:
    assert decode_committed(42, '{"s":7,"v":1,"w":"journey-1.5f"}') == Committed(42, 7, 1, "journey-1.5f")
    assert (encode_metadata(7, "journey-1.5f"), PROTO) == ('{"s":7,"v":1,"w":"journey-1.5f"}', 1)


def test_metadata_of_a_later_version_tells_which_one() -> None:
    assert decode_committed(42, '{"s":7,"v":2,"w":"a","x":[1]}') == Committed(42, 7, 2, "a")


def test_the_record_of_a_change_of_definitions() -> None:
    activation = unpack_activation(ACTIVATION)
    assert activation == Activation(
        seq=7,
        in_off=42,
        clock=9,
        versions={"welcome": "9f2c41d0"},
        slot=3,
        slots=4096,
        before={"welcome": ("0a0a0a0a",)},
        stays={"old": {"0b0b0b0b": 2}},
        parked={"gone": "0c0c0c0c"},
    )
    assert json.decode(pack_activation(activation)[1:]) == json.decode(ACTIVATION[1:])
    assert pack_activation(activation)[:1] == ACTIVATION[:1]


def test_a_definition_that_lies_in_a_partition() -> None:
    journey = unpack_definition(DEFINITION, ("w", "72e0efda"))
    assert journey is not None
    assert (journey.text, journey.source) == ("journey: w\nstages: [a: one.a]\n", "w.yaml")
    packed = pack_definition(journey)
    assert packed is not None
    again = unpack_definition(packed, ("w", "72e0efda"))
    assert again is not None
    assert (again.text, definition_key(("w", "72e0efda"))) == (journey.text, "\x00definition w 72e0efda")


def test_what_the_inputs_of_a_rollup_reported() -> None:
    inputs = Inputs().took(3, 321, 1_793_610_847_120_000, 100)
    assert (unpack_inputs(INPUTS), pack_inputs(inputs)) == (inputs, INPUTS)


def test_a_tally_batch() -> None:
    value = b'{"p":3,"seq":7,"clock":9,"deltas":[["campaign","spring",5978592,"sent",4]]}'
    batch = TallyBatch(p=3, seq=7, clock=9, deltas=(Tally("campaign", "spring", 5_978_592, "sent", 4),))
    assert (decode_tally_batch(value), encode_json(batch)) == (batch, value)
