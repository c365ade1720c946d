"""The two consumers on confluent-kafka: the member of the role's group, and the reader of state topics.

May not contain: work inside a rebalance callback. It records; the loop does the rest.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stagepost.edges.errors import Drop, RecordsGone, Stop, Unstable, of_kafka
from stagepost.edges.group_offsets import metadata_of
from stagepost.edges.lifeline import Lifeline
from stagepost.edges.ports import Bounds, Change, ChangeKind, Committed, Membership, StateRecord, decode_committed
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Record, Topic

_LOGGER = logging.getLogger("librdkafka")

_LINGER_S = 0.005
"""How long a batch waits for more once it has its first record: latency against the cost of a transaction."""

_FENCED_AGAIN_S = 60.0
"""Two living members of one name fence each other within seconds of every join."""

_ASK_S = 2.0
"""For questions to a broker that answers."""

GROUP_MEMBER: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    # Eager: cooperative-sticky has already moved the generation when the revocation is told.
    "partition.assignment.strategy": "range",
    "group.protocol": "classic",
    "queued.max.messages.kbytes": 16384,
    "fetch.queue.backoff.ms": 20,
    # A new assignment waits for the fetch under way, and an end of partition is told at the end of one (default 500).
    "fetch.wait.max.ms": 100,
    "enable.partition.eof": True,
}

STATE_READER: Mapping[str, Any] = {
    **GROUP_MEMBER,
    # The library asks for a name; without subscription and commit no group comes into being.
    "group.id": "stagepost.restore",
    "fetch.queue.backoff.ms": 5,
}

_CGMD = b"CGMDv2:"
"""Magic of librdkafka's serialised group metadata: then generation as int32, group, NUL, member, NUL."""


def _close_apart(consumer: Consumer) -> None:
    """Close in a thread: that may wait for a broker."""
    threading.Thread(target=consumer.close, daemon=True, name="discard-consumer").start()


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    """Questions that any broker error only delays; what a person must mend still stops."""
    try:
        yield
    except KafkaException as raised:
        error = raised.args[0]
        routed = of_kafka(error, doing) if isinstance(error, KafkaError) else None
        if routed is None:
            raise
        if isinstance(routed, Stop):
            raise routed from raised
        raise Unstable(str(routed)) from raised


def membership_of(token: bytes) -> Membership:
    """Generation and member in librdkafka's group metadata. Raises Drop where a commit would not be checked by them.

    A classic group accepts generation -1 from anybody (delivery.md 3, N1).
    """
    if not token.startswith(_CGMD):
        raise Stop("group metadata in a form that is not known: this librdkafka is too new, stay with 2.x")
    [generation] = struct.unpack_from("<i", token, len(_CGMD))
    _group, member, *_ = token[len(_CGMD) + 4 :].split(b"\0")
    if generation < 0 or not member:
        raise Drop(f"in no generation of the group (generation {generation}, member {member.decode()!r})")
    return Membership(generation, member.decode(), token)


class KafkaIntake:
    """``ports.Intake``. For one thread."""

    def __init__(self, settings: Mapping[str, Any], group: str, names: TopicNames, topic: Topic) -> None:
        self._topic = topic
        self._name = names.full(topic)
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._held: set[int] = set()
        self._reassign = False
        self._assigned: tuple[int, ...] = ()
        self._changes: list[Change] = []
        self._settings: dict[str, Any] = {**GROUP_MEMBER, **settings, "group.id": group}
        self._lifeline = Lifeline(settings, self._name)
        self._fenced_at = -_FENCED_AGAIN_S
        self._consumer = Consumer(self._settings, logger=_LOGGER)
        self._subscribed = False
        """With the first poll: a member that does not poll yet would hold up all others of the group."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        if not self._subscribed:
            self._subscribe()
        if self._reassign:
            self._assign_started()
        first = self._consumer.poll(timeout_s)
        if first is None:
            if self._lifeline.is_cut(self._consumer):
                self._replace("knows no broker any more")
            return ()
        messages = [first]
        if first.error() is None:
            self._lifeline.sign()
            if limit > 1:
                messages += self._consumer.consume(limit - 1, _LINGER_S)
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._told(error, message)
                continue
            partition, offset = message.partition(), message.offset()
            wanted = self._next.get(partition)  # type: ignore[arg-type]
            if wanted is not None and offset >= wanted:  # type: ignore[operator]
                records.append(self._record(message, partition, offset))  # type: ignore[arg-type]
        for record in records:
            self._next[record.partition] = record.offset + 1
        return records

    def changes(self) -> Sequence[Change]:
        changes, self._changes = self._changes, []
        return changes

    def membership(self) -> Membership:
        return membership_of(self._consumer.consumer_group_metadata())

    def committed(self, partition: int, timeout_s: float) -> Committed | None:
        doing = f"reading the committed offset of {self._name}[{partition}]"
        with _asking(doing):
            [found] = self._consumer.committed([TopicPartition(self._name, partition)], timeout_s)
        if found.error is not None:
            raise Unstable(f"{doing}: {found.error.str()}")
        return None if found.offset < 0 else decode_committed(found.offset, metadata_of(found))

    def first_offset(self, partition: int, start_from: str | int) -> int:
        place = TopicPartition(self._name, partition)
        with _asking(f"looking for the first record of {self._name}[{partition}]"):
            if isinstance(start_from, int):
                place.offset = start_from // 1000
                [found] = self._consumer.offsets_for_times([place], _ASK_S)
                if found.offset >= 0:
                    return found.offset
            low, high = self._consumer.get_watermark_offsets(place, _ASK_S)
        return low if start_from == "earliest" else high

    def start(self, partition: int, offset: int) -> None:
        self._next[partition] = offset
        self._ends.pop(partition, None)
        self._reassign = True

    def halt(self, partition: int) -> None:
        if self._next.pop(partition, None) is not None:
            self._held.discard(partition)
            self._reassign = True

    def hold(self, partitions: Iterable[int]) -> None:
        held = self._next.keys() & set(partitions)
        self._held |= held
        self._consumer.pause([TopicPartition(self._name, partition) for partition in held])

    def release(self, partitions: Iterable[int]) -> None:
        held = self._held & set(partitions)
        self._held -= held
        self._consumer.resume([TopicPartition(self._name, partition) for partition in held])

    def lag(self, partition: int, next_offset: int) -> int | None:
        high = self._high(partition)
        # The end of a transaction takes an offset too, so the end of the partition tells what no record can.
        return None if high is None else max(0, high - max(next_offset, self._ends.get(partition, 0)))

    def at_end(self, partition: int, next_offset: int, timeout_s: float) -> bool:
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(self._name, partition), timeout_s)
        except KafkaException:
            return False
        return found is not None and found[1] <= max(next_offset, self._ends.get(partition, 0))

    def undecided(self, partition: int, next_offset: int) -> Bounds | None:
        high, end = self._high(partition), self._ends.get(partition)
        if high is None or end is None or end < next_offset or end >= high:
            return None
        return Bounds(low=0, stable=end, high=high)

    def close(self) -> None:
        self._consumer.close()

    def _subscribe(self) -> None:
        on = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_lost}
        self._consumer.subscribe([self._name], **on)
        self._subscribed = True

    def _replace(self, why: str) -> None:
        """Join the group anew with another client. Nobody asks the old one any more."""
        _LOGGER.warning("the consumer of %s %s, and is replaced", self._name, why)
        old, self._consumer = self._consumer, Consumer(self._settings, logger=_LOGGER)
        self._subscribed = False
        _close_apart(old)
        if self._assigned:
            self._take_away(ChangeKind.LOST)
        self._lifeline.sign()

    def _assign_started(self) -> None:
        """Tell librdkafka all partitions that run, each with its explicit position; the others are ours without it."""
        self._reassign = False
        self._consumer.assign([TopicPartition(self._name, number, offset) for number, offset in self._next.items()])
        # librdkafka keeps a partition paused over assignments, rebalances included: what was held when it was given up
        # or halted would never be fetched again (seen after Redis was away while the group moved).
        self._consumer.resume([TopicPartition(self._name, number) for number in self._next.keys() - self._held])
        if self._held:
            self._consumer.pause([TopicPartition(self._name, partition) for partition in self._held])

    def _high(self, partition: int) -> int | None:
        """The true end as of the last fetch; a question to the broker would give the last stable offset."""
        watermarks = self._consumer.get_watermark_offsets(TopicPartition(self._name, partition), cached=True)
        return watermarks[1] if watermarks is not None and watermarks[1] >= 0 else None

    def _record(self, message: Message, partition: int, offset: int) -> Record:
        _, ms = message.timestamp()
        headers = message.headers()
        return Record(
            topic=self._topic,
            partition=partition,
            offset=offset,
            timestamp=ms * 1000,
            key=message.key(),
            value=message.value(),
            headers=tuple(headers) if headers else (),  # type: ignore[arg-type]
        )

    def _told(self, error: KafkaError, message: Message) -> None:
        """An event in place of a record."""
        code, place = error.code(), f"{self._name}[{message.partition()}]"
        if code == KafkaError._PARTITION_EOF:
            self._ends[message.partition()] = message.offset()  # type: ignore[index, assignment]
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            if message.partition() in self._next:
                raise RecordsGone(f"{place}: {error.str()}; records were deleted before they were processed")
        elif code == KafkaError._FATAL:
            # The only one that a consumer has: a static member whose name another one came with. A broker that died
            # before it had written down our own last rejoin says so too, once.
            now = time.monotonic()
            if now - self._fenced_at < _FENCED_AGAIN_S:
                raise Stop(f"another worker came with the same --instance, of which only one may run: {error.str()}")
            self._fenced_at = now
            self._replace("was fenced by a member of its own name")
        elif code == KafkaError._MAX_POLL_EXCEEDED:
            pass  # the loss of the partitions follows as a change
        else:
            routed = of_kafka(error, f"consuming {place}")
            if routed is None:
                raise KafkaException(error)
            if isinstance(routed, Stop):
                raise routed

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Nothing is fetched before the restore has found the place. With stored positions a single partition under an
        # undecided transaction would hold up the whole member; and a position to be left by a seek is a race: the
        # answer to the question for a logical offset may come after the seek and undo it (seen in 4 of 40 joins on a
        # busy machine), which skips records.
        consumer.assign([])
        if consumer is self._consumer:
            self._forget()
            self._assigned = tuple(sorted(each.partition for each in partitions))
            self._changes.append(Change(ChangeKind.ASSIGNED, self._assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._take_away(ChangeKind.REVOKED)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            self._take_away(ChangeKind.LOST)

    def _take_away(self, kind: ChangeKind) -> None:
        """Eager rebalancing takes everything at once."""
        self._forget()
        self._changes.append(Change(kind, self._assigned))
        self._assigned = ()

    def _forget(self) -> None:
        self._next.clear()
        self._ends.clear()
        self._held.clear()
        self._reassign = False


class KafkaStateReader:
    """``ports.StateReader``. For one thread."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames, topic: Topic) -> None:
        self._name = names.full(topic)
        self._partition = self._position = 0
        self._settings: dict[str, Any] = {**settings, **STATE_READER}
        self._lifeline = Lifeline(settings, self._name)
        self._consumer = Consumer(self._settings, logger=_LOGGER)

    def seek(self, partition: int, offset: int) -> None:
        self._consumer.assign([TopicPartition(self._name, partition, offset)])
        self._partition, self._position = partition, offset
        self._lifeline.sign()

    def read(self, limit: int, timeout_s: float) -> Sequence[StateRecord]:
        records: list[StateRecord] = []
        # The whole of ``timeout_s`` for the first record only: a partition ends in the middle of a chunk, and waiting
        # for the rest of it took most of the time of a restore of many small partitions.
        first = self._consumer.poll(timeout_s)
        if first is None:
            if self._lifeline.is_cut(self._consumer):
                _LOGGER.warning("the reader of %s knows no broker any more, and is replaced", self._name)
                _close_apart(self._consumer)
                self._consumer = Consumer(self._settings, logger=_LOGGER)
                self.seek(self._partition, self._position)
            return records
        for message in (first, *self._consumer.consume(limit - 1, _LINGER_S)):
            error = message.error()
            offset: int = message.offset()  # type: ignore[assignment]
            if error is None:
                _, ms = message.timestamp()
                records.append(StateRecord(offset, ms * 1000, message.key() or b"", message.value()))
                self._position = offset + 1
                self._lifeline.sign()
            elif error.code() == KafkaError._PARTITION_EOF:
                self._position = max(self._position, offset)
            elif isinstance(routed := of_kafka(error, f"reading {self._name}"), Stop):
                raise routed
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) or routed is None:
                raise KafkaException(error)
        return records

    def position(self) -> int:
        return self._position

    def close(self) -> None:
        self._consumer.close()
