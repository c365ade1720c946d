"""The role ``notify``: a Faust app that consumes ``email.alerts`` and tells people (faust.md has the measured rules).

The agent takes each record to the desk, or to the dead letters when it cannot be read, and acks it then; a timer hands
on what has waited for its group; a task for each receiver delivers. The agent keeps nothing that is not on the topic,
which is read from its beginning at each start, and what was delivered is in Redis: a restart loses nothing and repeats
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import faust
from confluent_kafka import KafkaException

from stagepost.alerts.notifications import read_alert
from stagepost.edges.admin import admin_client, missing_topics
from stagepost.edges.alert_history import AlertHistory
from stagepost.edges.couriers import Courier
from stagepost.edges.desk import AlertDesk
from stagepost.edges.errors import MissingTopics, Stop, in_words
from stagepost.edges.faust_app import FaustWorker, build_app
from stagepost.edges.keys import SentKeys
from stagepost.edges.log_limits import RateLimit
from stagepost.edges.logs import logger
from stagepost.edges.metrics import Metrics
from stagepost.edges.receivers import build_receivers, client_session
from stagepost.edges.roles import Status
from stagepost.edges.sent_log import SentLog
from stagepost.edges.topics import TopicNames
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Record, Topic
from stagepost.events import Rejected
from stagepost.settings import Settings

ROLE = "notify"

TICK_S = 0.2
"""How often the desk is asked what is due: small beside a group wait of 2 s."""

_KEEP_S = 1.0
"""How often Redis is asked whether it still holds the sent log."""

_TAKE, _TAKE_WITHIN_S = 100, 0.2
"""Records of one turn of the agent, and how long they are waited for."""

_STALLED_S = 60.0
"""The timer turns five times a second; a loop that has not turned for a minute never will."""

_LAST_ATTEMPT_S = 3.0
"""For attempts under way when the role is asked to end; what is cut off is repeated after the restart."""

_STOP_S = 4.0
"""For Faust to commit and leave the group, which takes a second."""

_NOT_A_READERS = frozenset(
    {"session.timeout.ms", "max.poll.interval.ms", "transaction.timeout.ms", "message.timeout.ms"}
)
"""Raw settings of group members and producers, which the clients here are not."""

_NOISY = ("aiokafka", "faust", "mode", "librdkafka")


class NotifyRole:
    """``roles.Role``. ``run`` raises MissingTopics, and Stop for what only a person can mend."""

    def __init__(self, settings: Settings, instance: str, metrics: Metrics) -> None:
        self._settings = settings
        self._instance = instance
        self._metrics = metrics
        self._made_at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notifier: _Notifier | None = None
        self._asked_to_stop = False

    @property
    def status(self) -> Status:
        notifier = self._notifier
        if notifier is None:
            return Status(self._made_at, _STALLED_S, ("starting",))
        return Status(notifier.turned_at, _STALLED_S, notifier.not_ready)

    def stop(self) -> None:
        self._asked_to_stop = True
        loop, notifier = self._loop, self._notifier
        if loop is not None and notifier is not None and not loop.is_closed():
            loop.call_soon_threadsafe(notifier.begin_to_end)

    def run(self) -> None:
        names = TopicNames(self._settings.prefix)
        _require(self._settings, [names.full(Topic.ALERTS), names.full(Topic.ALERTS_DLQ)])
        calm_logs()
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        notifier = _Notifier(self._settings, self._instance, self._metrics, loop)
        try:
            loop.run_until_complete(notifier.open())
            self._notifier = notifier
            if not self._asked_to_stop:
                notifier.work()
        finally:
            notifier.close()


class _Notifier:
    """What lives in the event loop of one run."""

    def __init__(self, settings: Settings, instance: str, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        names = TopicNames(settings.prefix)
        self._topic = names.full(Topic.ALERTS)
        self._dead_letters = names.full(Topic.ALERTS_DLQ)
        self._group = names.group(ROLE)
        self._log = logger("stagepost.notify", role=ROLE, instance=instance)
        # Not the working folder, which may be read-only.
        self._folder = tempfile.TemporaryDirectory(prefix="stagepost-notify-")
        self._processed_at: dict[int, float] = {}
        self._measured: frozenset[int] = frozenset()
        self._owned: frozenset[int] = frozenset()
        self._deliveries: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[bool] | None = None
        self._worker: FaustWorker | None = None
        self._failure: Exception | None = None
        self.turned_at = time.monotonic()

    @property
    def not_ready(self) -> tuple[str, ...]:
        reasons = []
        if not self._owned:
            reasons.append("no partition assigned")
        if not self._desk.caught_up:
            reasons.append(f"reading {self._topic} from its beginning")
        if self._desk.redis_error is not None:
            reasons.append(self._desk.redis_error)
        return tuple(reasons)

    async def open(self) -> None:
        """Make receivers, sent log, desk and app; nothing is connected. Raises Stop."""
        settings = self._settings
        self._session = client_session()
        receivers = build_receivers(settings.notify.receivers, self._session)
        self._sent = SentLog(settings.redis.url, SentKeys.of(settings.prefix), [each.id for each in receivers])
        self._desk = AlertDesk(self._sent, settings.notify.group_wait)
        self._desk.couriers = tuple(Courier(each, self._desk, self._counter(each.channel)) for each in receivers)
        self._history = AlertHistory(
            _client_options(settings),
            self._group,
            self._topic,
            self._soon(self._desk.take),
            self._soon(self._read_all),
            self._soon(self._fail),
        )
        self._app = build_app(
            self._group, settings.kafka.bootstrap_servers, settings.kafka.librdkafka, self._folder.name
        )
        self._define()

    def work(self) -> None:
        """Run until ``begin_to_end``, or until something fails."""
        worker = self._worker = FaustWorker(
            self._app, loop=self._loop, override_logging=False, redirect_stdouts=False, quiet=True
        )
        worker.spinner = None  # it would write to standard output
        self._history.start()
        self._starting = asyncio.ensure_future(worker.start(), loop=self._loop)
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._starting)

    def begin_to_end(self) -> None:
        """Finish attempts under way, leave the group, return from ``work``."""
        if self._ending is None and self._worker is not None:
            self._ending = self._loop.create_task(self._end(self._worker))

    def close(self) -> None:
        """Give back everything; raises what the worker died of."""
        self._history.close()
        worker = self._worker
        if worker is None:
            self._loop.run_until_complete(self._release())
            self._loop.close()
            return
        self.begin_to_end()
        assert self._ending is not None
        ended = self._loop.run_until_complete(self._ending)
        self._loop.run_until_complete(self._release())
        if not ended:
            self._log.warning("Faust does not end and is left behind", timeout_s=_STOP_S, exc_info=self._failure)
            # Its consumer's thread is no daemon: without a broker it would hold up the process for ever.
            os._exit(0 if self._failure is None else 1)
        try:
            worker.stop_and_shutdown()
        except BaseException as error:
            # What Faust died of is often the cancellation of another part after the first failure.
            raise self._failure or error from None
        if self._failure is not None:
            raise self._failure

    def _define(self) -> None:
        """Agent, timer and tasks of the app. An exception in any of them ends the process."""
        app = self._app
        source = app.topic(self._topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

        @app.agent(source, name="alerts", concurrency=1)
        async def alerts(stream: faust.StreamT[Any]) -> None:
            async for events in cast("faust.Stream[Any]", stream).noack_take(_TAKE, within=_TAKE_WITHIN_S):
                for event in events:
                    with self._failing():
                        await self._take(event)

        @app.timer(interval=TICK_S, traced=False)  # type: ignore[untyped-decorator]
        async def tick() -> None:
            with self._failing():
                self._tick()

        @app.task(traced=False)  # type: ignore[untyped-decorator]
        async def keep() -> None:
            while self._ending is None:
                with self._failing():
                    await self._desk.keep()
                await asyncio.sleep(_KEEP_S)

        @app.task(traced=False)  # type: ignore[untyped-decorator]
        async def deliver() -> None:
            self._deliveries = [self._loop.create_task(courier.run()) for courier in self._desk.couriers]
            with self._failing():
                await asyncio.gather(*self._deliveries)

        @app.on_partitions_assigned.connect
        async def assigned(*_args: Any, **_kwargs: Any) -> None:
            self._metrics.count("rebalances_total")
            self._desk.assigned()

    async def _take(self, event: Any) -> None:
        message = event.message
        read = read_alert(message.value)
        if isinstance(read, Rejected):
            await self._put_aside(message, read)
        else:
            self._desk.take(read, message.partition, message.timestamp)
        event.ack()
        self._processed_at[message.partition] = message.timestamp

    async def _put_aside(self, message: Any, rejected: Rejected) -> None:
        """To the dead letters, and only then acked; an error here ends the process, offsets untouched."""
        record = Record(
            topic=Topic.ALERTS,
            partition=message.partition,
            offset=message.offset,
            timestamp=int(message.timestamp * 1_000_000),
            key=message.key,
            value=message.value,
            headers=tuple(message.headers or ()),
        )
        letter = dead_letter(record, Topic.ALERTS_DLQ, self._topic, self._group, [rejected])
        producer = await self._app.maybe_start_producer()
        await producer.send_and_wait(
            self._dead_letters, letter.key, letter.value, partition=None, timestamp=None, headers=list(letter.headers)
        )
        self._metrics.count("events_dead_lettered_total", rejected.reason)
        self._log.warning(
            "dead letter",
            topic=self._topic,
            partition=record.partition,
            offset=record.offset,
            reason=rejected.reason,
            detail=rejected.detail,
        )

    def _tick(self) -> None:
        now = time.monotonic()
        self._owned = frozenset(tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._topic)
        self._desk.own(self._owned)
        self._desk.tick()
        if int(now) != int(self.turned_at):
            self._measure()
        self.turned_at = now

    def _measure(self) -> None:
        """Position and age: that a worker calls itself ready is not health."""
        metrics, now = self._metrics, time.time()
        metrics.set("assigned_partitions", len(self._owned))
        for partition in self._measured - self._owned:
            for name in ("consumer_lag_records", "consumer_lag_seconds", "last_record_processed_timestamp_seconds"):
                metrics.forget(name, Topic.ALERTS, str(partition))
            self._processed_at.pop(partition, None)
        self._measured = self._owned
        for partition in self._owned:
            labels = (Topic.ALERTS, str(partition))
            if partition in self._processed_at:
                metrics.set("last_record_processed_timestamp_seconds", self._processed_at[partition], *labels)
            lag = self._history.lags.get(partition)
            if lag is not None:
                oldest = lag.oldest_at
                metrics.set("consumer_lag_records", lag.records, *labels)
                metrics.set("consumer_lag_seconds", lag.records if oldest is None else max(0.0, now - oldest), *labels)

    def _read_all(self, worked_before: bool) -> None:
        self._desk.history_read(worked_before)
        self._log.info("knows the incidents", topic=self._topic, count=self._desk.known)

    def _fail(self, error: Exception) -> None:
        """End because of ``error``, or of an earlier one."""
        self._failure = self._failure or error
        self.begin_to_end()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """An exception here ends the process, and is what it says it died of."""
        try:
            yield
        except Exception as error:
            self._fail(error)
            raise

    async def _end(self, worker: FaustWorker) -> bool:
        """Whether Faust came to its end; after a crash it may have done so before."""
        for courier in self._desk.couriers:
            courier.stop()
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=_LAST_ATTEMPT_S)
        stopping = self._loop.create_task(worker.stop())
        ended, _ = await asyncio.wait([stopping], timeout=_STOP_S)
        self._starting.cancel()
        return bool(ended)

    async def _release(self) -> None:
        self._folder.cleanup()
        await self._session.close()
        await self._sent.close()

    def _counter(self, channel: str) -> Callable[[str], None]:
        return lambda result: self._metrics.count("notifications_total", channel, result)

    def _soon(self, call: Callable[..., None]) -> Callable[..., None]:
        """``call`` in the event loop, from another thread."""

        def later(*args: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(call, *args)

        return later


def calm_logs() -> None:
    """Faust's own lines from WARNING on, and few of the same."""
    limit = RateLimit(*_NOISY)
    for handler in logging.getLogger().handlers:
        handler.addFilter(limit)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _client_options(settings: Settings) -> dict[str, str]:
    """For a client that is no member of a group."""
    options = {key: value for key, value in settings.kafka.librdkafka.items() if key not in _NOT_A_READERS}
    return {"bootstrap.servers": settings.kafka.bootstrap_servers, **options}


def _require(settings: Settings, topics: list[str]) -> None:
    """With a missing source Faust says it is ready and notices nothing; a missing sink blocks it."""
    options = _client_options(settings)
    try:
        missing = missing_topics(admin_client(options.pop("bootstrap.servers"), options), topics)
    except KafkaException as error:
        raise Stop(in_words(error, settings.kafka.bootstrap_servers, settings.redis.url) or str(error)) from error
    if missing:
        raise MissingTopics(missing)
