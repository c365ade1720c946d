"""What runs: definitions and contacts as the mirror shows them, for those who only look (``plan``, ``explain``).

Nothing is computed from it, so no batch number is asked for: an answer may be of the batch before, or of two batches.
May not contain: a write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stagepost.edges.errors import Stop
from stagepost.edges.ports import Mirror
from stagepost.engine.definitions import (
    ACTIVATION_KEY,
    Activation,
    definition_key,
    is_reserved,
    unpack_activation,
    unpack_definition,
)
from stagepost.engine.plan import decode_control
from stagepost.engine.story import Told, unpack_told
from stagepost.events import murmur2_partition
from stagepost.journey.definition import Journey
from stagepost.journey.state import ContactState, unpack
from stagepost.journey.switch import Version

_MOST_PARTITIONS = 1024
"""How far to look for a partition that has anything; more than an input topic sensibly has."""


@dataclass(frozen=True, slots=True)
class Running:
    """One partition: where it is, and under which definitions."""

    partition: int
    seq: int
    next_offset: int
    clock: int
    activation: Activation
    definitions: Mapping[Version, Journey | None]
    """Of everything that ``activation`` keeps; None: not stored, or of another version of the language."""


class RunningJourneys:
    """Reads the mirror of the ``journey`` role."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    @property
    def slots(self) -> int:
        return self._mirror.slots

    def partitions(self) -> int:
        """How many the input has; 0 when nothing was processed yet."""
        for partition in range(_MOST_PARTITIONS):
            at = self._mirror.checkpoint(partition)
            if at is not None:
                return at.partitions
        return 0

    def running(self, partition: int) -> Running | None:
        """None when nothing of the partition was processed yet."""
        at = self._mirror.checkpoint(partition)
        if at is None or not at.control:
            return None
        control = decode_control(at.control)
        value = self._values(partition, [ACTIVATION_KEY])[ACTIVATION_KEY]
        if value is None:
            activation = Activation(seq=0, in_off=0, clock=0, versions=control.definitions)
        else:
            activation = unpack_activation(value)
        kept = sorted(activation.kept())
        stored = self._values(partition, [definition_key(version) for version in kept])
        definitions = {
            version: None if (data := stored[definition_key(version)]) is None else unpack_definition(data, version)
            for version in kept
        }
        return Running(partition, control.seq, control.in_off, control.clock, activation, definitions)

    def contact(self, contact: str) -> tuple[int, ContactState] | None:
        """The partition and the state of one contact; None when nothing is known of it."""
        partitions = self.partitions()
        if not partitions or not contact or is_reserved(contact):
            return None
        partition = murmur2_partition(contact.encode(), partitions)
        value = self._values(partition, [contact])[contact]
        return None if value is None else (partition, _unpacked(value))

    def states(self, partition: int) -> Iterator[tuple[int, list[tuple[str, ContactState]]]]:
        """All contacts, some at a time: (slots done, contacts with their states)."""
        slot: int | None = 0
        while slot is not None:
            listing = self._mirror.keys(partition, slot, self._mirror.piece)
            if listing is None:
                return
            contacts = [key for key in listing.keys if not is_reserved(key)]
            slot = listing.next_slot
            done = self._mirror.slots if slot is None else slot
            values = self._values(partition, contacts)
            yield done, [(contact, _unpacked(value)) for contact, value in values.items() if value is not None]

    def story(self, partition: int, contact: str) -> list[Told]:
        """The contact's last moves, in the order of their runs; a gap shows in their numbers."""
        told = (unpack_told(data) for data in self._mirror.story(partition, contact))
        once = {each.id: each for each in told if each is not None}
        return list(once.values())

    def close(self) -> None:
        self._mirror.close()

    def _values(self, partition: int, keys: list[str]) -> dict[str, bytes | None]:
        values: dict[str, bytes | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), self._mirror.piece):
            snapshot = self._mirror.read(partition, keys[start : start + self._mirror.piece])
            if snapshot is not None:
                values.update(snapshot.values)
        return values


def _unpacked(value: bytes) -> ContactState:
    try:
        return unpack(value)
    except ValueError as error:
        raise Stop(f"{error}: the workers are of a newer version than this command") from error
