"""From one number of input partitions to a larger one: where each contact goes, and what each partition then says.

Law: what is written to a partition of the state topic here is closed by a control record, so that whoever restores it
sees whole states; a contact is in one partition at any committed moment. May not contain: clients, transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from stagepost.engine.definitions import ACTIVATION_KEY, Activation, is_reserved, pack_activation, unpack_activation
from stagepost.engine.plan import CONTROL_KEY, Control, Emit, Topic, encode_control
from stagepost.engine.tallies import Tallies
from stagepost.events import murmur2_partition
from stagepost.journey.state import CODEC, number, pack, unpack
from stagepost.journey.switch import finishing


class NotAtRest(ValueError):
    """What has to be done first; the text says it."""


@dataclass(frozen=True)
class Source:
    """What one partition of the state topic holds. ``control`` None: nothing was ever processed."""

    partition: int
    control: Control | None
    activation: Activation | None
    definitions: Mapping[str, bytes]
    """Stored definitions, by state key."""
    finishing: Mapping[tuple[str, int], int]
    """Runs of the contacts that will be here, which finish on an older version: journey name and mark to number."""


def home_of(contact: str, partitions: int) -> int:
    """The partition of a contact."""
    return murmur2_partition(contact.encode(), partitions)


def moved_states(states: Mapping[str, bytes], partition: int, partitions: int) -> Iterator[tuple[str, int, bytes]]:
    """Contacts that do not stay in ``partition``: contact, new partition, state.

    A state remembers the change of definitions that it was brought up to by the number of a batch of its partition. In
    another one that number means nothing, so it is set back: the next change there brings it up like any other.
    """
    for contact, value in states.items():
        if is_reserved(contact):
            continue
        home = home_of(contact, partitions)
        if home != partition:
            state = unpack(value)
            yield contact, home, pack(structs.replace(state, epoch=0)) if state.epoch else value


def moved_memberships(
    records: Mapping[str, bytes], partition: int, partitions: int
) -> Iterator[tuple[str, int, bytes]]:
    """The same for keys of ``journey.contacts``."""
    for key, value in records.items():
        # The name of a journey has no slash.
        home = home_of(key.partition("/")[2], partitions)
        if home != partition:
            yield key, home, value


def finishing_in(states: Mapping[str, bytes]) -> Counter[tuple[str, int]]:
    """Runs of these contacts that finish on an older version."""
    found: Counter[tuple[str, int]] = Counter()
    for contact, value in states.items():
        if not is_reserved(contact):
            found.update(finishing(unpack(value)))
    return found


def source_of(partition: int, states: Mapping[str, bytes], control: Control | None) -> Source:
    """``states``: the fold of the partition, without its control record, after the contacts have moved."""
    activation = unpack_activation(states[ACTIVATION_KEY]) if ACTIVATION_KEY in states else None
    kept = {key: value for key, value in states.items() if is_reserved(key) and key != ACTIVATION_KEY}
    return Source(partition, control, activation, kept, finishing_in(states))


def refuse_unless_settled(sources: Sequence[Source]) -> None:
    """Raises NotAtRest while a change of definitions is under way, or where partitions are under different ones."""
    under_way = [s.partition for s in sources if s.activation is not None and s.activation.slot is not None]
    if under_way:
        raise NotAtRest(
            f"a change of journeys is under way in partitions {', '.join(map(str, under_way))}: let the journey role "
            "finish it first"
        )
    versions = {tuple(sorted(s.activation.versions.items())) for s in sources if s.activation is not None}
    if len(versions) > 1:
        raise NotAtRest(
            "partitions are under different versions of the journeys: run the journey role with one set of files until "
            "all have changed"
        )


def closing_records(
    sources: Sequence[Source], first: Callable[[int], int], tally_partitions: int, writer: str, proto: int
) -> Iterator[tuple[Emit, Control | None]]:
    """What is written to every partition in one transaction once the contacts have moved: definitions, activation, an
    empty tally, so that batch numbers have no gap for the metrics, and last the control record (with it: the record).

    ``sources``: all partitions of the new layout. ``first``: where the input of a new one begins. The clock of all is
    the smallest of those that had one: with a larger one, timers of a contact from a slower partition would fire before
    events that are still to come.
    """
    known = [source for source in sources if source.control is not None]
    activations = [source.activation for source in sources if source.activation is not None]
    if not known or not activations:
        return
    clock = min(source.control.clock for source in known if source.control is not None)
    definitions = {key: value for source in sources for key, value in source.definitions.items()}
    parked = {name: version for activation in activations for name, version in activation.parked.items()}
    older = {(name, version) for each in activations for name, counts in each.stays.items() for version in counts}
    for source in sources:
        before = source.control
        seq = 1 if before is None else before.seq + 1
        in_off = first(source.partition) if before is None else before.in_off
        stays: dict[str, dict[str, int]] = {}
        for name, version in sorted(older):
            runs = source.finishing.get((name, number(version)), 0)
            if runs:
                stays.setdefault(name, {})[version] = runs
        activation = source.activation or structs.replace(activations[0], seq=seq, in_off=in_off, clock=clock)
        activation = structs.replace(activation, stays=stays, parked={**parked, **activation.parked})
        states = {**definitions, ACTIVATION_KEY: pack_activation(activation)}
        for key, value in states.items():
            yield Emit(topic=Topic.STATE, key=key.encode(), value=value, partition=source.partition), None
        # Of a new partition the metrics hear with its first batch.
        tallies = () if before is None else Tallies(source.partition, tally_partitions).emits(seq, clock)
        for emit in tallies:
            yield emit, None
        control = Control(
            seq=seq,
            in_off=in_off,
            clock=clock,
            n_out=len(tallies),
            n_states=len(states),
            definitions=activation.versions,
            codec=CODEC,
            proto=proto,
            writer=writer,
            partitions=len(sources),
        )
        value = encode_control(control)
        yield Emit(topic=Topic.STATE, key=CONTROL_KEY, value=value, partition=source.partition), control
