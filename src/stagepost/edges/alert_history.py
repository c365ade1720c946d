"""All of ``email.alerts`` from its beginning, for a worker of ``notify`` to know what is going on.

The group's committed offsets say what was read, not what people were told, and an alert is inhibited by another one
that may lie in any partition. So each worker reads the whole topic, which is compacted and small, beside its group:
once at the start, and from then on what is added. Records that cannot be read are passed over; the agent sends them to
the dead letters. It also knows how far the group's commits are behind, from outside of Faust.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

from stagepost.alerts.notifications import Alert, read_alert
from stagepost.edges.errors import MissingTopics, Stop, of_kafka
from stagepost.events import Rejected

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 5.0
_POLL_S = 0.5
_BATCH = 500
_CLOSE_S = 2.0
_MEASURE_S = 1.0

_BEHIND_LIMIT = 10_000
"""Records of a partition whose age is remembered until they are committed."""

_READER: Mapping[str, Any] = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "queued.max.messages.kbytes": 4096,
    "reconnect.backoff.ms": 500,
}


class Lag(Struct, frozen=True):
    """How far a group is behind on one partition. ``records`` -1: there are some, and nothing was ever committed."""

    records: int
    oldest_at: float | None
    """Broker time of the oldest record not committed, Unix seconds; None when nothing is behind, or it is not known."""


class AlertHistory:
    """A thread that reads. The callbacks are called from it: ``take`` with an alert, its partition and its broker time
    in Unix seconds; ``caught_up`` once, when everything was read that was there, with whether the group had committed
    anything when that began; ``failed`` with what ended it."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        group: str,
        topic: str,
        take: Callable[[Alert, int, float], None],
        caught_up: Callable[[bool], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._topic = topic
        self._take = take
        self._caught_up = caught_up
        self._failed = failed
        self._closing = threading.Event()
        # The group's name only to ask for its commits: without a subscription this is no member of it.
        self._consumer = Consumer({**settings, **_READER, "group.id": group}, logger=_LOGGER)
        self._behind: dict[int, deque[tuple[int, float]]] = {}
        self.lags: Mapping[int, Lag] = {}
        self._thread = threading.Thread(target=self._run, name="alert-history", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask the thread to end and wait for it a little; it is a daemon."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # into the event loop, where it ends the process
            self._failed(error)
        finally:
            self._consumer.close()

    def _read(self) -> None:
        found = self._consumer.list_topics(self._topic, timeout=_ASK_S).topics[self._topic]
        if not found.partitions:
            raise MissingTopics([self._topic])
        worked_before = self._worked_before(list(found.partitions))
        self._consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in found.partitions])
        waiting = set(found.partitions)
        measured_at = 0.0
        while not self._closing.is_set():
            for message in self._consumer.consume(_BATCH, _POLL_S):
                error, partition = message.error(), message.partition()
                if error is None:
                    self._read_one(message)
                elif error.code() != KafkaError._PARTITION_EOF:
                    self._told(error)
                elif partition in waiting:
                    waiting.remove(partition)
                    if not waiting:
                        self._caught_up(worked_before)
            if not waiting and time.monotonic() - measured_at > _MEASURE_S:
                measured_at = time.monotonic()
                self._measure(list(found.partitions))

    def _worked_before(self, partitions: list[int]) -> bool:
        """Whether the group has ever committed here. A new broker takes a while until it can say."""
        places = [TopicPartition(self._topic, number) for number in partitions]
        while not self._closing.is_set():
            try:
                return any(found.offset >= 0 for found in self._consumer.committed(places, _ASK_S))
            except KafkaException as exception:
                self._told(exception.args[0])
                self._closing.wait(_POLL_S)
        return False

    def _read_one(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        stamped = message.timestamp()[1] / 1000
        self._behind.setdefault(partition, deque(maxlen=_BEHIND_LIMIT)).append((offset, stamped))
        read = read_alert(message.value())
        if not isinstance(read, Rejected):
            self._take(read, partition, stamped)

    def _measure(self, partitions: list[int]) -> None:
        places = [TopicPartition(self._topic, number) for number in partitions]
        try:
            committed = {found.partition: found.offset for found in self._consumer.committed(places, _ASK_S)}
        except KafkaException:
            return  # the last figures stay, and their age grows
        lags = {}
        for place in places:
            number = place.partition
            bounds = self._consumer.get_watermark_offsets(place, cached=True)
            if bounds is None or bounds[1] < 0:
                continue
            position, behind = committed[number], self._behind.get(number, deque())
            while behind and behind[0][0] < position:
                behind.popleft()
            records = bounds[1] - max(position, bounds[0], 0)
            never = position < 0 and records > 0
            lags[number] = Lag(-1 if never else max(0, records), behind[0][1] if behind and not never else None)
        self.lags = lags

    def _told(self, error: KafkaError) -> None:
        """An event in place of a record: what passes, passes."""
        routed = of_kafka(error, f"reading {self._topic}")
        if routed is None:
            raise KafkaException(error)
        if isinstance(routed, Stop):
            raise routed
