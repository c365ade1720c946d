"""Sending dead letters back: each with its receipt in one Kafka transaction, then watching what becomes of them.

May not contain: which dead letters are chosen.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException

from stagepost.edges.group_offsets import GroupOffsets
from stagepost.edges.pieces import Pieces
from stagepost.edges.producers import KafkaProducer
from stagepost.edges.scan import Scanner
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic
from stagepost.engine.retries import SOURCES, DeadLetter, read_dead_letter, retried_from, retry_of

_PIECE = 200
"""Dead letters in one transaction: bodies of 8 MiB have to fit into the client's queue."""

_PIECE_BYTES = 32 << 20

_CALL_S = 15.0

_LOOK_S = 0.3

_ROLES = {Topic.RAW: "normalise", Topic.EVENTS: "journey"}


@dataclass(frozen=True)
class Outcome:
    """``failed``: places of dead letters that ended as dead letters again, with the new place. ``waiting``: topics of
    which not everything was read in time, hence of whose records nothing is known yet."""

    retried: int
    failed: tuple[tuple[str, str], ...]
    waiting: tuple[str, ...]


class Retrier:
    """Sends dead letters back. For one thread."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames, scanner: Scanner) -> None:
        self._names = names
        self._scanner = scanner
        self._offsets = {topic: GroupOffsets(settings, names.group(role)) for topic, role in _ROLES.items()}
        identity = names.transactional_id("dlq", uuid.uuid4().hex[:12])
        patient = {**settings, "transaction.timeout.ms": 60_000}
        self._sender = Pieces(lambda: KafkaProducer(patient, identity, names, Topic.RAW), _CALL_S)

    def send(
        self,
        letters: Sequence[DeadLetter],
        rate: float | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        """Send ``letters`` back in the order of their origin, so that records of one key keep theirs. ``rate``: records
        a second at most. Raises EdgeError; what was sent by then has its receipts."""
        ordered = sorted(
            letters, key=lambda letter: (letter.source_topic, letter.source_partition, letter.source_offset)
        )
        done = 0
        began = time.monotonic()
        for piece in _pieces(ordered):
            self._sender.carry(emit for letter in piece for emit in retry_of(letter))
            done += len(piece)
            progress(done, len(ordered))
            if rate is not None:
                time.sleep(max(0.0, done / rate - (time.monotonic() - began)))

    def watch(self, letters: Sequence[DeadLetter], since: int, within_s: float) -> Outcome:
        """Wait until the roles have read what was sent (``within_s`` at most), and see what came back. ``since``: time
        before the first was sent, micros."""
        topics = sorted({letter.record.topic for letter in letters})
        sent = {letter.place for letter in letters}
        deadline = time.monotonic() + within_s
        places = {
            topic: self._places(
                SOURCES[topic], {letter.place for letter in letters if letter.record.topic == topic}, since, deadline
            )
            for topic in topics
        }
        waiting = list(topics)
        while waiting := [topic for topic in waiting if not self._passed(SOURCES[topic], places[topic])]:
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        failed = []
        for record in self._scanner.records(topics, since):
            letter = read_dead_letter(record)
            before = retried_from(record) if letter is not None else None
            if letter is not None and before in sent:
                failed.append((before, letter.place))
        return Outcome(len(letters), tuple(failed), tuple(self._names.full(SOURCES[topic]) for topic in waiting))

    def close(self) -> None:
        self._sender.close()
        for offsets in self._offsets.values():
            offsets.close()

    def _places(self, topic: Topic, sent: Collection[str], since: int, deadline: float) -> dict[int, int] | None:
        """Where the records that were sent back lie: the last offset of each partition. None: not all are to be seen.

        A commit returns before its markers are written, so what was sent may lie beyond the stable end for a moment.
        """
        while True:
            found = [record for record in self._scanner.records([topic], since) if retried_from(record) in sent]
            if len(found) >= len(sent):
                return {record.partition: record.offset for record in found}
            if time.monotonic() > deadline:
                return None
            time.sleep(_LOOK_S)

    def _passed(self, topic: Topic, places: Mapping[int, int] | None) -> bool:
        """Whether the role has committed beyond ``places``."""
        if places is None:
            return False
        try:
            found = self._offsets[topic].of(self._names.full(topic), places, _CALL_S)
        except KafkaException:
            return False
        return all(partition in found and found[partition][0] > offset for partition, offset in places.items())


def _pieces(letters: Sequence[DeadLetter]) -> list[list[DeadLetter]]:
    pieces: list[list[DeadLetter]] = [[]]
    size = 0
    for letter in letters:
        size += len(letter.record.value or b"")
        if len(pieces[-1]) == _PIECE or (size > _PIECE_BYTES and pieces[-1]):
            pieces.append([])
            size = len(letter.record.value or b"")
        pieces[-1].append(letter)
    return [piece for piece in pieces if piece]
