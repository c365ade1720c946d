"""Whether a client of librdkafka still knows a broker, found out by asking.

librdkafka forgets the brokers that an answer about metadata does not name. A cluster that comes back, its brokers not
yet admitted by the controller, names none for a moment; a client that hears this never asks anybody again and reports
nothing (confluentinc/librdkafka#5301, seen with 2.16 after a broker stood still for 8 s). Only a new client helps.
May not contain: what to do about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_EVERY_S = 3.0
"""Between two questions, while nothing comes in by itself."""

_ANSWER_S = 1.0

_IN_VAIN = 4
"""Unanswered questions in a row: a client that only waits to connect again does so after 10 s at the latest."""


class Client(Protocol):
    """Any client of confluent-kafka."""

    def list_topics(self, *, topic: str, timeout: float) -> Any: ...


class Lifeline:
    """``settings``: of a client for the same cluster. ``topic``: what to ask about, which is less than everything."""

    def __init__(self, settings: Mapping[str, Any], topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings: dict[str, Any] = {**settings, "log_level": 0}
        self._topic = topic
        self._clock = clock
        self._due = clock() + _EVERY_S
        self._in_vain = 0

    def sign(self) -> None:
        """Something came from a broker."""
        self._due = self._clock() + _EVERY_S
        self._in_vain = 0

    def is_cut(self, client: Client) -> bool:
        """Whether this client gets no answers while a new one does; asks, for 2 s at most, when it is time to.

        While the cluster does not answer anybody this is never so.
        """
        if self._clock() < self._due:
            return False
        if _answers(client, self._topic) or not _answers(AdminClient(self._settings), self._topic):
            self.sign()
            return False
        self._due = self._clock() + _EVERY_S
        self._in_vain = (self._in_vain + 1) % _IN_VAIN  # the next client begins with a clean slate
        return not self._in_vain


def _answers(client: Client, topic: str) -> bool:
    try:
        return bool(client.list_topics(topic=topic, timeout=_ANSWER_S).brokers)
    except KafkaException:
        return False
