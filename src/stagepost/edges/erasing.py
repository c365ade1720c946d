"""Erasing one contact: the event that asks for it, and looking whether it has come through everywhere.

Looks as an ordinary client does, at committed records and at the mirror. May not contain: what an erasure does to a
state (``journey/step.py``), a write other than the event.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from stagepost.edges.admin import missing_topics, topic_settings
from stagepost.edges.errors import EdgeError, MissingTopics
from stagepost.edges.group_offsets import GroupOffsets
from stagepost.edges.ports import Mirror
from stagepost.edges.producers import COMMON
from stagepost.edges.tail import Tail
from stagepost.edges.topics import TopicNames
from stagepost.engine.intake import read_event
from stagepost.engine.plan import Topic
from stagepost.events import DAY, Reason, Rejected, rfc3339, stable_id
from stagepost.journey.state import unpack
from stagepost.wording import counted

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 10.0

_LOOK_S = 0.3
"""Between two looks at what becomes of the event."""

_TIMERS = 5_000
"""Timers looked at in one call."""

_PIECE = 5_000

_NO_LIMIT = 100 * 365 * DAY
"""Kafka's default for a lag without limit is larger than any time."""

_SETTING_MICROS = 1_000
"""Settings of topics are in milliseconds."""

HOLDERS = (Topic.RAW, Topic.RAW_DLQ, Topic.EVENTS, Topic.EVENTS_DLQ, Topic.TRANSITIONS, Topic.CONTACTS, Topic.STATE)
"""Topics that may hold records of a contact; all others are about campaigns."""


class NotPublished(EdgeError):
    """The event may or may not be in the topic: to publish it once more is right."""


@dataclass(frozen=True)
class Published:
    """Where the event lies. ``at``: the broker's time, micros."""

    contact: str
    id: str
    partition: int
    offset: int
    at: int


@dataclass(frozen=True)
class Progress:
    """How far an erasure has come. ``live``: keys of ``journey.contacts`` whose newest record is no tombstone."""

    state: bool
    """The transaction with the event is committed, and with it the marker in place of the state."""
    mirror: bool
    """Redis has the marker in place of the values, no timer of a journey, and no story."""
    tombstones: int
    live: tuple[str, ...]
    whole: bool
    """The contact's partition of ``journey.contacts`` could be read to its end."""

    @property
    def confirmed(self) -> bool:
        return self.state and self.mirror and self.whole and not self.live


@dataclass(frozen=True)
class Remains:
    """A topic that may hold older records of the contact, and until when at the latest (micros; None: no limit)."""

    topic: str
    policy: str
    until: int | None


def erasure_event(contact: str, at: int, nonce: str) -> bytes | Rejected:
    """The record that asks to forget ``contact``; Rejected where that is no contact id. ``at``: micros."""
    try:
        body = {
            "id": stable_id("contact.erased", contact, nonce),
            "type": "contact.erased",
            "occurred_at": rfc3339(at),
            "contact": contact,
        }
        value = msgspec.json.encode(body)
    except UnicodeEncodeError:
        return Rejected(Reason.NO_CONTACT, "the contact id is no text")
    read = read_event(value, broker_time=at)
    return read if isinstance(read, Rejected) else value


class Eraser:
    """Publishes the event, and follows it. For one thread."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames, mirror: Mirror) -> None:
        """``settings``: of librdkafka, bootstrap servers included. Connects when it is asked."""
        self._settings = dict(settings)
        self._names = names
        self._mirror = mirror
        self._admin = AdminClient({"log_level": 0, **self._settings}, logger=_LOGGER)
        self._offsets = GroupOffsets(self._settings, names.group("journey"))

    def close(self) -> None:
        self._offsets.close()

    def publish(self, contact: str, value: bytes) -> Published:
        """Returns once every replica in sync has the event. Raises MissingTopics, NotPublished, KafkaException."""
        name = self._names.full(Topic.EVENTS)
        if missing := missing_topics(self._admin, [name]):
            raise MissingTopics(missing)
        answers: list[tuple[KafkaError | None, Message]] = []
        own = {"enable.idempotence": True, "message.timeout.ms": int(_ASK_S * 1000)}
        producer = Producer({**COMMON, **self._settings, **own}, logger=_LOGGER)
        producer.produce(name, value, contact.encode(), on_delivery=lambda *answer: answers.append(answer))
        producer.flush(_ASK_S + 5)
        if not answers:
            raise NotPublished(f"{name}: the broker did not answer; run the same command again")
        [(error, message)] = answers
        if error is not None:
            raise NotPublished(f"{name}: {error.str()}; run the same command again")
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None, "an acknowledged record has a place"
        event_id: str = msgspec.json.decode(value)["id"]
        return Published(contact, event_id, partition, offset, message.timestamp()[1] * 1000)

    def applied(self, published: Published) -> bool:
        """Whether the ``journey`` role has committed beyond the event."""
        try:
            found = self._offsets.of(self._names.full(Topic.EVENTS), [published.partition], _ASK_S)
        except KafkaException:
            return False
        offset, _ = found.get(published.partition, (-1, None))
        return offset > published.offset

    def mirrored(self, published: Published) -> bool:
        """Whether the mirror has the erasure: the marker, no timer but its own, no story."""
        partition, contact = published.partition, published.contact
        at = self._mirror.checkpoint(partition)
        if at is None or at.partial or at.in_off <= published.offset:
            return False
        snapshot = self._mirror.read(partition, [contact])
        value = None if snapshot is None else snapshot.values[contact]
        if value is None:
            return False
        state = unpack(value)
        return bool(
            state.erased and self._timer(partition, contact) == state.due and not self._mirror.story(partition, contact)
        )

    def _timer(self, partition: int, contact: str) -> int | None:
        """By the index, which may have one that the state does not know of."""
        after: int | None = -1
        while after is not None and (page := self._mirror.timers(partition, after, _TIMERS)) is not None:
            if contact in page.due:
                return page.due[contact]
            after = page.until
        return None

    def memberships(self, contact: str, progress: Callable[[int, int], None]) -> tuple[int, tuple[str, ...], bool]:
        """How many keys of the contact in ``journey.contacts`` end in a tombstone, which do not, and whether the end
        of its partition was read. ``progress``: records read, of about how many."""
        newest, whole = self._newest(contact, progress)
        live = sorted(key for key, value in newest.items() if value is not None)
        return len(newest) - len(live), tuple(live), whole

    def membership_records(self, contact: str, progress: Callable[[int, int], None]) -> list[bytes]:
        """The newest record of each journey, by journey; those that are no tombstone."""
        newest, _ = self._newest(contact, progress)
        return [value for _, value in sorted(newest.items()) if value is not None]

    def _newest(self, contact: str, progress: Callable[[int, int], None]) -> tuple[dict[str, bytes | None], bool]:
        """By key of ``journey.contacts``, and whether the end of the partition was read."""
        newest: dict[str, bytes | None] = {}
        tail = Tail(self._settings, self._names, (Topic.CONTACTS,), contact.encode())
        try:
            for records in tail.to_end(_PIECE, _ASK_S, progress):
                for record in records:
                    key = (record.key or b"").decode(errors="replace")
                    # The name of a journey has no slash, so what follows the first one is the contact.
                    if key.partition("/")[2] == contact:
                        newest[key] = record.value
            return newest, tail.at_end()
        finally:
            tail.close()

    def follow(
        self,
        published: Published,
        within_s: float,
        told: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> Progress:
        """Wait until the erasure is through everywhere, ``within_s`` at most. ``told``: what has come to be true."""
        deadline = time.monotonic() + within_s
        state = self._until(deadline, lambda: self.applied(published))
        if state:
            told("state: the marker is in the place of what was known")
        mirror = state and self._until(deadline, lambda: self.mirrored(published))
        if mirror:
            told("mirror: values, timers and story are gone")
        while True:
            tombstones, live, whole = self.memberships(published.contact, progress)
            if (whole and not live) or not state or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
        if whole and not live:
            told(f"journey.contacts: {counted(tombstones, 'tombstone')}, no membership left")
        return Progress(state, mirror, tombstones, live, whole)

    def remains(self, at: int) -> list[Remains]:
        """Where records from before the erasure ``at`` (micros) may remain, and until when the brokers keep them."""
        full = [self._names.full(topic) for topic in HOLDERS]
        return [remains_of(name, found, at) for name, found in topic_settings(self._admin, full).items()]

    def _until(self, deadline: float, holds: Callable[[], bool]) -> bool:
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True


def remains_of(topic: str, settings: Mapping[str, str], at: int) -> Remains:
    """Until when ``topic`` may keep a record that was written by ``at`` (micros).

    A segment goes as a whole, once its newest record is older than the retention; it is written to for ``segment.ms``
    at most. Where compaction does it, a segment is closed after the lag that is allowed, and its tombstones are kept
    for ``delete.retention.ms`` more; a partition to which nothing is written any more closes none.
    """

    def micros(name: str) -> int:
        return int(settings.get(name, "-1")) * _SETTING_MICROS

    policy = settings.get("cleanup.policy", "delete")
    if "compact" in policy:
        lag = micros("max.compaction.lag.ms")
        limit = None if lag < 0 or lag > _NO_LIMIT else at + lag + micros("delete.retention.ms")
        return Remains(topic, policy, limit)
    retention = micros("retention.ms")
    return Remains(topic, policy, None if retention < 0 else at + retention + micros("segment.ms"))
