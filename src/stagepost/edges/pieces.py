"""Transactions one after another outside any group, for verbs that move records in pieces.

A late copy of the request that ends a transaction would end half of the next one (delivery.md 1): after an end that was
slow, or over a disturbed connection, the next piece has a new producer, which is refused the copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from stagepost.edges.ports import TransactionalProducer
from stagepost.edges.transactions import SLOW_COMMIT_S
from stagepost.engine.plan import Emit


class Pieces:
    """``new``: makes a producer, of one transactional id each time. For one thread; raises EdgeError."""

    def __init__(
        self,
        new: Callable[[], TransactionalProducer],
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``timeout_s``: for each call. What an earlier producer of the id left open ends with the first piece."""
        self._new = new
        self._timeout_s = timeout_s
        self._clock = clock
        self._producer: TransactionalProducer | None = None

    def carry(
        self, emits: Iterable[Emit], last: Callable[[TransactionalProducer], None] = lambda producer: None
    ) -> None:
        """All of it, or nothing. ``last``: done before the end, once the records are acknowledged."""
        producer = self._ready()
        producer.begin()
        for emit in emits:
            producer.send(emit)
        producer.flush(self._timeout_s)
        last(producer)
        began = self._clock()
        producer.commit(self._timeout_s)
        if self._clock() - began > SLOW_COMMIT_S or producer.disturbed():
            self.close()

    def close(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None

    def _ready(self) -> TransactionalProducer:
        if self._producer is None:
            self._producer = self._new()
            self._producer.init(self._timeout_s)
        return self._producer
