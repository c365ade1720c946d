from __future__ import annotations

import pytest
from msgspec import structs

from stagepost.journey.state import (
    CODEC,
    ContactState,
    Grant,
    Held,
    Lens,
    Run,
    SendAt,
    Sent,
    Withdrawal,
    digest,
    next_due,
    number,
    pack,
    packed_due,
    send_key,
    unpack,
)

FULL = ContactState(
    due=5,
    seen=b"12345678",
    seen_before=b"abcdefgh",
    seen_since=1,
    sends={7: Sent("n-1", 2, 3), 8: Sent(None, 3)},
    last_send=SendAt(2, "n-1", "m"),
    register={"list:a": Withdrawal(4, True, 2, "n-1")},
    subscribed=1,
    consents={"tracking": Grant(3, True, 3)},
    null_clicks=((4, 7, 9),),
    lenses={0: Lens((SendAt(4, "n-1", None),), (Held(5, 4, "e", "n-1", "m", None, True, {"": (), "j": (0, 5)}),))},
    runs={"j": Run(1, 1, 2, "a", "a", "a", 1, 2, 2, 2, facts={1: 1, 2: (0, 3, 4)}, timers={3: 5})},
)

GOLDEN_1 = (
    "019d0005c4083132333435363738c408616263646566676801820793a36e2d3102030893c003009302a36e2d31a16d81a66c"
    "6973743a619404c302a36e2d310181a8747261636b696e679403c303009193040709810092919304a36e2d31c091980504a1"
    "65a36e2d31a16dc0c382a090a16a92000581a16adc0013010102a161a161a16101020202c2c2c20000000082010102930003"
    "04810305"
)
"""``FULL`` in codec 1: whatever is stored must stay readable by every later version."""

FULL_2 = structs.replace(FULL, sends={7: Sent("n-1", 2, 3, 4), 8: Sent(None, 3)})
GOLDEN_2 = (
    "029e0005c4083132333435363738c408616263646566676801820794a36e2d310203040894c00300009302a36e2d31a16d81"
    "a66c6973743a619404c302a36e2d310181a8747261636b696e679403c303009193040709810092919304a36e2d31c0919805"
    "04a165a36e2d31a16dc0c382a090a16a92000581a16adc0014010102a161a161a16101020202c2c2c2000000008201010293"
    "0003048103050000"
)
"""``FULL_2`` in codec 2."""


def test_the_golden_bytes_of_codec_1_are_read() -> None:
    assert FULL == unpack(bytes.fromhex(GOLDEN_1))


def test_the_golden_bytes_of_codec_2_are_read_and_written() -> None:
    assert FULL_2 == unpack(bytes.fromhex(GOLDEN_2))
    assert GOLDEN_2 == pack(FULL_2).hex()


def test_a_state_comes_back_as_it_was_packed() -> None:
    assert FULL == unpack(pack(FULL))


def test_the_codec_byte_stands_in_front() -> None:
    assert CODEC == pack(ContactState())[0]


@pytest.mark.parametrize("data", [b"", b"\x00", bytes([CODEC + 1]) + pack(FULL)[1:], pack(FULL)[:-1]])
def test_what_this_version_cannot_read_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed state"):
        unpack(data)


def test_the_first_timer_is_read_off_the_state() -> None:
    assert (5, None) == (next_due(FULL), next_due(ContactState()))


def test_a_send_is_named_by_its_message_else_by_its_campaign() -> None:
    assert send_key("a", "m") == send_key("b", "m")
    assert send_key("a", None) != send_key("b", None)
    assert 0 == send_key(None, None)


def test_texts_that_no_encoding_holds_have_a_digest_too() -> None:
    assert 8 == len(digest("\ud800"))
    assert number("\ud800") < 2**32


def test_a_usual_contact_is_small() -> None:
    """Two journeys, ten sends, twenty event keys; the goal of performance.md 3 is 600 bytes."""
    at = 1_793_610_847_120_000
    run = Run(1, 1, 3, "interested", "interested", "interested", at, at, at, at, active=at, clicked=at)
    run.facts = {number(str(n)): 1 for n in range(4)}
    run.timers = {number(str(n)): at for n in range(2)}
    state = ContactState(
        due=at,
        seen=bytes(160),
        seen_since=at,
        sends={number(str(n)): Sent(f"nurture-{n}", at, 3) for n in range(10)},
        last_send=SendAt(at, "nurture-9", "0123456789abcdef0123"),
        lenses={0: Lens((SendAt(at, "nurture-9", "0123456789abcdef0123"),))},
        runs={"webinar-nurture": run, "product-interest": run},
    )

    assert len(pack(state)) < 1000


@pytest.mark.parametrize(
    "data", [pack(FULL), pack(ContactState()), pack(ContactState(erased=7)), bytes.fromhex(GOLDEN_1)]
)
def test_the_due_time_of_a_packed_state_is_read_without_unpacking_it(data: bytes) -> None:
    assert packed_due(data) == next_due(unpack(data))


@pytest.mark.parametrize("data", [b"", b"\x63\x90", pack(FULL)[:3], b"\x02not msgpack"])
def test_bytes_that_are_no_state_have_no_due_time_either(data: bytes) -> None:
    with pytest.raises(ValueError, match="packed state"):
        packed_due(data)
