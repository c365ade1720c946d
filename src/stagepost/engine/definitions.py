"""Which definitions a partition computes with, as records in its own state topic (journeys.md 4, delivery.md 4).

Law: a partition switches at a batch, and the record of that (``Activation``) is in the transaction of the batch; who
takes the partition over reads there where it stands, so a change that was begun is finished first, whatever definitions
the new owner has, and the next one begins after it. The text of a definition lies beside it for as long as a contact
may need it: while it is in force, while contacts are brought up to its successor, while runs finish on it.
May not contain: what a change does to a contact (``journey/switch.py``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping

import msgspec
from msgspec import Struct, structs

from stagepost.engine.plan import Listing
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.state import number
from stagepost.journey.switch import Change, Switch, Version, change_of, switch_to
from stagepost.journey.yaml_nodes import SIZE_LIMIT

ACTIVATION_KEY = "\x00definitions"
"""State key of the Activation; no contact id holds a NUL."""

RESERVED = 0
"""First byte of what lies under a reserved key, where a packed state has its codec."""

TEXT_LIMIT = 512 * 1024
"""Packed bytes of one definition that are stored: half of what a broker takes by default. Journeys have some thousand;
beyond it a change to the next version is possible, but no run can finish on this one."""


PARKED = 200
"""Journeys that are gone and remembered; a folder of journeys does not have more."""


class Activation(Struct, frozen=True, kw_only=True):
    """The newest change of a partition, and how far it has come."""

    seq: int
    """The batch from which ``versions`` are in force."""
    in_off: int
    """Offset of the first input record under them."""
    clock: int
    """Partition clock before that record, micros."""
    versions: dict[str, str]
    """Journey name to version."""
    slot: int | None = None
    """The first slot of states whose contacts are yet to be brought up to ``versions``; None: all are."""
    slots: int = 0
    """How many slots there were when ``slot`` was written; where that changed it is begun anew."""
    before: dict[str, tuple[str, ...]] = {}
    """While there is a ``slot``: what runs were on, see ``Change``."""
    stays: dict[str, dict[str, int]] = {}
    """Active runs that finish on older versions: journey name and version to their number."""
    parked: dict[str, str] = {}
    """Journeys that are gone, with the version that their contacts were left on: the file may come back."""

    def kept(self) -> frozenset[Version]:
        """Versions whose definitions must be stored."""
        found = {*self.versions.items(), *self.parked.items()}
        if self.slot is not None:
            found |= {(name, version) for name, versions in self.before.items() for version in versions}
        found |= {(name, version) for name, counts in self.stays.items() for version in counts}
        return frozenset(found)

    def change(self) -> Change:
        return Change(self.before, {name: tuple(counts) for name, counts in self.stays.items()})


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Activation).decode
_HEAD = bytes([RESERVED])


class _Stored(Struct, frozen=True):
    source: str
    text: str


def definition_key(version: Version) -> str:
    """State key of one definition.

    >>> definition_key(("welcome", "9f2c41d0"))
    '\\x00definition welcome 9f2c41d0'
    """
    return f"\x00definition {version[0]} {version[1]}"


def is_reserved(key: str) -> bool:
    """Whether a state key is no contact's."""
    return key.startswith("\x00")


def pack_activation(activation: Activation) -> bytes:
    return _HEAD + _encode(activation)


def unpack_activation(data: bytes) -> Activation:
    """``ValueError`` when it is none."""
    if data[:1] != _HEAD:
        raise ValueError("the record of a change of definitions does not begin as one")
    return _decode(memoryview(data)[1:])


def pack_definition(journey: Journey) -> bytes | None:
    """What is stored of a definition; None for one without text, or with too much of it."""
    if not journey.text:
        return None
    packed = _HEAD + zlib.compress(msgspec.msgpack.encode(_Stored(journey.source, journey.text)))
    return packed if len(packed) <= TEXT_LIMIT else None


def unpack_definition(data: bytes, version: Version) -> Journey | None:
    """The journey again; None if this version of the language gives the text another meaning, or none."""
    if data[:1] != _HEAD:
        return None
    unzip = zlib.decompressobj()
    try:
        plain = unzip.decompress(data[1:], 8 * SIZE_LIMIT)
        stored = msgspec.msgpack.decode(plain, type=_Stored)
    except (zlib.error, msgspec.DecodeError):
        return None
    journey = parse_journey(stored.text, stored.source).journey
    return journey if journey is not None and (journey.name, journey.version) == version else None


def begin(
    now: Activation,
    new: Collection[Journey],
    known: Callable[[Version], bool],
    *,
    seq: int,
    in_off: int,
    clock: int,
) -> Activation:
    """The change from ``now`` to ``new``. ``known``: whether the definition of a version can be had."""
    versions = {journey.name: journey.version for journey in new}
    old = {**now.parked, **now.versions}
    change = change_of(now.versions, now.parked, now.stays, new, known)
    before = dict(change.before)
    parked = {name: version for name, version in old.items() if name not in versions}
    stays = {
        name: {version: now.stays.get(name, {}).get(version, 0) for version in left}
        for name, left in change.finishing.items()
    }
    return Activation(
        seq=seq,
        in_off=in_off,
        clock=clock,
        versions=versions,
        slot=0 if before else None,
        before=before,
        stays=stays,
        parked=dict(list(parked.items())[-PARKED:]),
    )


def switch_of(
    now: Activation,
    new: Collection[Journey],
    stored: Callable[[Version], Journey | None],
    *,
    seq: int,
    in_off: int,
    clock: int,
) -> Switch:
    """What a partition would do if ``new`` were put in force there: for ``plan``, which looks ahead."""
    then = begin(now, new, lambda version: stored(version) is not None, seq=seq, in_off=in_off, clock=clock)
    older = [stored((name, version)) for name, counts in then.stays.items() for version in counts]
    program = compile_program(list(new), [journey for journey in older if journey is not None])
    return switch_to(program, then.change(), then.seq, then.clock, stored)


def advance(activation: Activation, listing: Listing | None, finished: Mapping[tuple[str, int], int]) -> Activation:
    """Where the change stands after a batch that brought up the contacts of ``listing``.

    ``finished``: by how many the runs changed that finish on an older version, by journey name and mark.
    """
    slot, slots, before = activation.slot, activation.slots, activation.before
    if slot is not None and listing is not None:
        slot, slots = listing.next_slot, listing.slots
    stays = {
        name: {version: n + finished.get((name, number(version)), 0) for version, n in counts.items()}
        for name, counts in activation.stays.items()
    }
    if slot is None:
        before = {}
        stays = {name: {version: n for version, n in counts.items() if n > 0} for name, counts in stays.items()}
    stays = {name: counts for name, counts in stays.items() if counts}
    return structs.replace(activation, slot=slot, slots=slots, before=before, stays=stays)
