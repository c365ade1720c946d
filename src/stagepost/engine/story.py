"""A contact's last moves as a view beside the state: packed small, because there are up to twenty of each contact.

Not state: nothing is computed from it, and ``journey.transitions`` has it all. May not contain: how long it is kept.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from stagepost.events import Transition
from stagepost.journey.state import unpack

STORY = 20
"""Moves kept of a contact (design.md 10)."""


class Told(Struct, array_like=True, frozen=True):
    """What ``explain`` says of one record of ``journey.transitions``; fields as there."""

    id: str
    journey: str
    version: str
    run: str
    move: int
    kind: str
    source: str | None
    to: str
    at: str
    rule: str
    cause: tuple[str, str, str | None, str | None] | None
    """Id, type, campaign and URL of the event."""
    timer: tuple[str, str] | None
    """Name and due time."""
    late: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


def told_of(move: Transition) -> Told:
    cause, timer = move.cause, move.timer
    return Told(
        move.id,
        move.journey,
        move.version,
        move.run,
        move.move,
        move.kind,
        move.from_,
        move.to,
        move.at,
        move.rule,
        None if cause is None else (cause.id, cause.type, cause.campaign, cause.url),
        None if timer is None else (timer.name, timer.due),
        move.late,
    )


def may_be_told(state: bytes | None) -> bool:
    """Whether moves of a contact with this packed state may be shown: not of one who is erased, or was for long."""
    return state is not None and not unpack(state).erased


def pack_told(told: Told) -> bytes:
    return _encode(told)


def unpack_told(data: bytes) -> Told | None:
    """None for what another version wrote: a view may be forgotten."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return None
