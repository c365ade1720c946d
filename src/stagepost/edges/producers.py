"""The two producers on confluent-kafka: the transactional one, and the idempotent one for what follows a commit.

May not contain: what to do about an error; ``errors.of_kafka`` names it, ``transactions.py`` acts. Only ``produce`` is
used: ``produce_batch`` ignores partitions of single messages, drops headers, and lets a commit succeed after refusals.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, NoReturn

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer, TopicPartition

from stagepost.edges.errors import TOO_LARGE, UNFIT, Abort, NewProducer, Retry, Unfit, of_kafka
from stagepost.edges.lifeline import Lifeline
from stagepost.edges.ports import Membership, Placed
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Emit, Topic

_LOGGER = logging.getLogger("librdkafka")

_ANY = -1
"""librdkafka's RD_KAFKA_PARTITION_UA: the partitioner chooses."""

_QUEUE_WAIT_S = 5.0
"""How long a full send queue may stay full: by then the broker is away, and the transaction with it."""

_LOOK_S = 0.25
"""Between two looks, while records are not acknowledged, whether they can be at all."""

COMMON: Mapping[str, Any] = {
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "socket.timeout.ms": 5000,
    "retry.backoff.ms": 100,
    # As the JVM's default for keyed records, so that other producers agree (design.md 3).
    "partitioner": "murmur2_random",
    # The largest record is a dead letter of all that the topics of bodies take; those of dead letters take as much.
    "message.max.bytes": 10 << 20,
    "queue.buffering.max.messages": 1_000_000,
}


@contextmanager
def _routed(doing: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as raised:
        error = raised.args[0]
        routed = of_kafka(error, doing) if isinstance(error, KafkaError) else None
        if routed is None:
            raise
        raise routed from raised


class KafkaProducer:
    """``ports.TransactionalProducer``. For one thread."""

    def __init__(
        self, settings: Mapping[str, Any], transactional_id: str, names: TopicNames, input_topic: Topic
    ) -> None:
        self._full = {topic: names.full(topic) for topic in Topic}
        self._input = names.full(input_topic)
        self._disturbed = False
        self._producer = Producer(
            {**COMMON, **settings, "transactional.id": transactional_id, "error_cb": self._on_error}, logger=_LOGGER
        )

    def init(self, timeout_s: float) -> None:
        with _routed("starting a transactional producer"):
            self._producer.init_transactions(timeout_s)

    def begin(self) -> None:
        with _routed("beginning a transaction"):
            self._producer.begin_transaction()

    def send(self, emit: Emit, on_placed: Callable[[Placed], None] | None = None) -> None:
        # Written out without context managers: they took half of the time of this call, which is one per record.
        topic = self._full[emit.topic]
        partition = _ANY if emit.partition is None else emit.partition
        report = None if on_placed is None else _report(on_placed)
        headers: list[tuple[str, str | bytes | None]] | None = list(emit.headers) if emit.headers else None
        deadline: float | None = None
        while True:
            try:
                self._producer.produce(topic, emit.value, emit.key, partition, headers=headers, on_delivery=report)
                return
            except BufferError as error:
                now = time.monotonic()
                deadline = deadline or now + _QUEUE_WAIT_S
                if now > deadline:
                    raise NewProducer(f"sending to {topic}: the queue stays full") from error
                with _routed(f"sending to {topic}"):
                    self._producer.poll(0.05)
            except KafkaException as raised:
                self._refused(raised, f"sending to {topic}")

    def _refused(self, raised: KafkaException, doing: str) -> NoReturn:
        """Raises what the loop does about a record that was not taken."""
        error = raised.args[0]
        if error.code() == KafkaError._STATE:
            self._raise_if_failed(doing)
            raise Abort(f"{doing}: {error.str()}") from raised
        if error.code() in UNFIT:
            raise Unfit(f"{doing}: {error.str()}", too_large=error.code() in TOO_LARGE) from raised
        try:
            with _routed(doing):
                self._producer.poll(0)  # ``produce`` only says that there was a fatal error, the callback says which
                raise raised
        except Retry as retry:
            raise Abort(str(retry)) from raised

    def flush(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            with _routed("flushing"):
                left = self._producer.flush(max(0.0, min(_LOOK_S, deadline - time.monotonic())))
            if not left:
                return
            self._raise_if_failed("flushing")
            if time.monotonic() >= deadline:
                raise Retry(f"flushing: {left} records not acknowledged after {timeout_s:g} s")

    def _raise_if_failed(self, doing: str) -> None:
        """Raises why the transaction cannot be committed any more. What is queued then is never sent, so that a flush
        would wait for it in vain.

        The state can be asked for in no other way than by a call that is refused: a second begin changes nothing.
        """
        try:
            self._producer.begin_transaction()
        except KafkaException as raised:
            if raised.args[0].code() != KafkaError._STATE:
                with _routed(doing):
                    raise

    def send_offsets(self, offsets: Mapping[int, tuple[int, str]], member: Membership, timeout_s: float) -> None:
        listed = [
            TopicPartition(self._input, partition, offset, metadata=metadata)
            for partition, (offset, metadata) in offsets.items()
        ]
        with _routed("sending offsets to the transaction"):
            self._producer.send_offsets_to_transaction(listed, member.token, timeout_s)

    def commit(self, timeout_s: float) -> None:
        with _routed("committing"):
            self._producer.commit_transaction(timeout_s)

    def abort(self, timeout_s: float) -> None:
        with _routed("aborting"):
            self._producer.abort_transaction(timeout_s)

    def disturbed(self) -> bool:
        # A fatal error that comes up here is met again by the next call, which is prepared for it.
        with suppress(KafkaException):
            self._producer.poll(0)
        was, self._disturbed = self._disturbed, False
        return was

    def discard(self) -> None:
        producer, self._producer = self._producer, None  # type: ignore[assignment]
        _destroy_apart(producer)

    def _on_error(self, error: KafkaError) -> None:
        self._disturbed = True


class KafkaPublisher:
    """``ports.Publisher``: records wait in memory as long as the broker is away; the next assignment repeats them."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames) -> None:
        self._names = names
        # 0: never give up on a record; an incident that is not announced would be worse than a late one.
        endless = {"enable.idempotence": True, "message.timeout.ms": 0}
        # gzip, because it is the only codec that Faust's client reads without a further library; these are few records.
        readable = {"compression.type": "gzip"}
        self._settings: dict[str, Any] = {**COMMON, **settings, **endless, **readable}
        self._producer = Producer(self._settings, logger=_LOGGER)
        self._waiting: dict[int, Emit] = {}
        """Not acknowledged yet, oldest first."""
        self._numbers = count()
        self._lifeline = Lifeline(settings, names.full(Topic.ALERTS))

    def publish(self, emits: Sequence[Emit]) -> None:
        for emit in emits:
            number = next(self._numbers)
            self._waiting[number] = emit
            self._produce(number, emit)
        self._producer.poll(0)
        if not self._waiting:
            self._lifeline.sign()
        elif self._lifeline.is_cut(self._producer):
            self._replace()

    def flush(self, timeout_s: float) -> int:
        return self._producer.flush(timeout_s)

    def _produce(self, number: int, emit: Emit) -> None:
        def report(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._waiting.pop(number, None)
                self._lifeline.sign()

        partition = _ANY if emit.partition is None else emit.partition
        with _routed(f"publishing to {emit.topic}"):
            self._producer.produce(
                self._names.full(emit.topic),
                emit.value,
                emit.key,
                partition,
                headers=list(emit.headers) or None,
                on_delivery=report,
            )

    def _replace(self) -> None:
        """With a client that finds the cluster: what the old one still holds is sent again, in its order."""
        _LOGGER.warning("the publisher knows no broker any more, and is replaced")
        old, self._producer = self._producer, Producer(self._settings, logger=_LOGGER)
        _destroy_apart(old)
        for number, emit in list(self._waiting.items()):
            self._produce(number, emit)


def _destroy_apart(producer: Producer) -> None:
    """Destroying a producer waits for its threads, which may wait for a broker that is away: not our time."""
    threading.Thread(target=producer.purge, daemon=True, name="discard-producer").start()


def _report(on_placed: Callable[[Placed], None]) -> Callable[[KafkaError | None, Message], None]:
    def report(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            return  # the transaction cannot be committed any more, and whoever commits is told
        kind, ms = message.timestamp()
        offset = message.offset()
        assert offset is not None
        on_placed(Placed(offset, ms * 1000 if kind == TIMESTAMP_LOG_APPEND_TIME else None))

    return report
