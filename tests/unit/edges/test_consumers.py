from __future__ import annotations

import pytest

from stagepost.edges.consumers import membership_of
from stagepost.edges.errors import Drop, Stop


def token(generation: int, member: bytes) -> bytes:
    """As librdkafka 2.16 writes it."""
    return b"CGMDv2:" + generation.to_bytes(4, "little", signed=True) + b"group\0" + member + b"\0\1"


def test_generation_and_member_are_read_from_the_group_metadata() -> None:
    member = membership_of(token(7, b"rdkafka-1"))
    assert (member.generation, member.member, member.token) == (7, "rdkafka-1", token(7, b"rdkafka-1"))


@pytest.mark.parametrize("bad", [token(-1, b"rdkafka-1"), token(7, b""), token(-1, b"")])
def test_offsets_are_never_sent_without_a_generation_and_a_member(bad: bytes) -> None:
    with pytest.raises(Drop, match="in no generation of the group"):
        membership_of(bad)


def test_metadata_in_an_unknown_form_ends_the_process() -> None:
    with pytest.raises(Stop, match="this librdkafka is too new"):
        membership_of(b"CGMDv3:whatever")
