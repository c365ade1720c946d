"""A producer whose caller waits for the cluster's word on every record: what a bridge answers 2xx by.

May not contain: HTTP, or what a record means.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stagepost.edges.lifeline import Lifeline
from stagepost.edges.producers import COMMON
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Emit, Topic

_LOGGER = logging.getLogger("librdkafka")

_QUEUE_RECORDS = 20_000
_QUEUE_KIB = 128 << 10
"""What may wait for the cluster; beyond it the answer is "not now" at once, and the provider keeps the post."""

_ALIVE_S = 5.0
"""How long an answer of the cluster says that it is there."""


class NotConfirmed(Exception):
    """The record may or may not be in the topic; whoever sent it has to send it again."""


class ConfirmedProducer:
    """Idempotent, acks from all replicas in sync. ``send`` from one event loop; ``alive`` from any thread."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames, timeout_s: float = 10.0) -> None:
        """``timeout_s``: for a record to be confirmed before it is given up."""
        self._names = names
        self._settings: dict[str, Any] = {
            **COMMON,
            # Somebody waits for each record: nothing is gained by waiting for more of them.
            "linger.ms": 1,
            "queue.buffering.max.messages": _QUEUE_RECORDS,
            "queue.buffering.max.kbytes": _QUEUE_KIB,
            **settings,
            "enable.idempotence": True,
            "message.timeout.ms": int(timeout_s * 1000),
            "error_cb": self._on_error,
        }
        self._broken = False
        self._replacing = threading.Lock()
        self._producer = Producer(self._settings, logger=_LOGGER)
        self._lifeline = Lifeline(settings, names.full(Topic.RAW))
        self._heard_at = 0.0
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="confirmations", daemon=True)
        self._poller.start()

    async def send(self, emit: Emit) -> None:
        """Return once every replica in sync has the record. Raises NotConfirmed."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if done.done():
                return  # the caller has gone
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(NotConfirmed(error.str()))

        def report(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._heard_at = time.monotonic()
                self._lifeline.sign()
            with suppress(RuntimeError):  # the loop has ended, and its callers have been told that it was not confirmed
                loop.call_soon_threadsafe(settle, error)

        if self._broken:
            self._replace()
        try:
            self._producer.produce(
                self._names.full(emit.topic), emit.value, emit.key, headers=list(emit.headers), on_delivery=report
            )
        except BufferError as error:
            raise NotConfirmed("too many records wait for the cluster") from error
        except KafkaException as error:
            raise NotConfirmed(str(error.args[0])) from error
        await done

    def alive(self) -> bool:
        """Whether the cluster has answered within the last seconds; asks where nothing was sent for a while."""
        if time.monotonic() - self._heard_at < _ALIVE_S:
            return True
        try:
            self._producer.list_topics(timeout=1.0)
        except KafkaException:
            return False
        self._heard_at = time.monotonic()
        return True

    def close(self, within_s: float) -> int:
        """Wait for what is on its way; returns how many records were not confirmed."""
        left = self._producer.flush(within_s)
        self._closing.set()
        self._poller.join()
        return left

    def _replace(self) -> None:
        """A fatal error ends an idempotent producer for good, and so does knowing no broker any more: what it still
        held is reported as failed."""
        with self._replacing:
            self._broken = False
            old, self._producer = self._producer, Producer(self._settings, logger=_LOGGER)
        threading.Thread(target=_end, args=(old,), name="discard-producer", daemon=True).start()

    def _on_error(self, error: KafkaError) -> None:
        self._broken = self._broken or error.fatal()

    def _poll(self) -> None:
        while not self._closing.is_set():
            producer = self._producer
            producer.poll(0.1)
            if self._lifeline.is_cut(producer):
                _LOGGER.warning("the producer of the bridge knows no broker any more, and is replaced")
                self._replace()


def _end(producer: Producer) -> None:
    """Report what it still held, and let it go."""
    producer.flush(1.0)
    producer.purge()
    producer.flush(1.0)
