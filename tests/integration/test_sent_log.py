"""The sent log on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import redis

from stagepost.alerts.lifecycle import Phase
from stagepost.alerts.notifications import Told
from stagepost.edges import sent_log
from stagepost.edges.keys import SentKeys
from stagepost.edges.sent_log import KEPT_S, SentLog

KEYS = SentKeys.of("test.")


def with_log(url: str, work: Callable[[SentLog], Awaitable[None]]) -> None:
    async def run() -> None:
        log = SentLog(url, KEYS, ["a", "b"])
        await log.load(0)
        await work(log)
        await log.close()

    asyncio.run(run())


def test_what_was_noted_and_written_is_known_after_a_restart(redis_url: str) -> None:
    async def send(log: SentLog) -> None:
        log.note("a", "i-1", Told(1, Phase.FIRING))
        log.note("a", "i-1", Told(2, Phase.RESOLVED))
        log.note("a", "i-2", Told(1, Phase.FIRING))
        await log.write()
        log.note("b", "i-3", Told(1, Phase.FIRING))

    async def look(log: SentLog) -> None:
        assert [Told(2, Phase.RESOLVED), Told(1, Phase.FIRING), None] == [log.told("a", f"i-{n}") for n in (1, 2, 3)]
        assert log.told("b", "i-3") is None, "it was noted, and never written"

    with_log(redis_url, send)
    with_log(redis_url, look)


def test_it_lasts_longer_than_the_topic_keeps_a_record(redis_url: str) -> None:
    async def send(log: SentLog) -> None:
        log.note("a", "i-1", Told(1, Phase.FIRING))
        await log.write()

    with_log(redis_url, send)
    with redis.Redis.from_url(redis_url) as client:
        assert KEPT_S - 60 < client.ttl(KEYS.sent("a")) <= KEPT_S
        assert -1 == client.ttl(KEYS.epoch)


def test_a_loss_is_noticed_and_what_was_not_written_yet_outlives_it(redis_url: str) -> None:
    async def lose(log: SentLog) -> None:
        log.note("a", "i-1", Told(1, Phase.FIRING))
        await log.write()
        assert not await log.lost()
        log.note("a", "i-2", Told(1, Phase.FIRING))
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        assert await log.lost()
        assert 0 == log.began
        await log.load(77)
        assert not await log.lost()
        assert 77 == log.began
        await log.load(99)
        assert 77 == log.began, "it is there, and does not begin anew"
        assert (None, Told(1, Phase.FIRING)) == (log.told("a", "i-1"), log.told("a", "i-2"))

    with_log(redis_url, lose)


@pytest.mark.parametrize("epoch", ["strange", "two words", "", "name -1"])
def test_a_log_that_does_not_say_when_it_began_always_was(redis_url: str, epoch: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(KEYS.epoch, epoch)

    async def look(log: SentLog) -> None:
        assert (0, False) == (log.began, await log.lost())

    with_log(redis_url, look)


def test_a_delivery_while_redis_is_read_is_not_forgotten(redis_url: str) -> None:
    async def send(log: SentLog) -> None:
        loading = asyncio.create_task(log.load(0))
        await asyncio.sleep(0)
        log.note("a", "i-1", Told(1, Phase.FIRING))
        await log.write()
        await loading
        assert Told(1, Phase.FIRING) == log.told("a", "i-1")

    with_log(redis_url, send)


def test_what_is_too_old_too_much_or_not_ours_is_dropped(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_log, "ENTRIES_LIMIT", 2)
    now = int(time.time())
    entries = {"old": [1, "firing", now - KEPT_S - 1], **{f"i-{n}": [1, "firing", now - 10 + n] for n in range(3)}}
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEYS.sent("a"), mapping={key: msgspec.json.encode(value) for key, value in entries.items()})
        client.hset(KEYS.sent("a"), "strange", "no entry")

        async def look(log: SentLog) -> None:
            known = [incident for incident in (*entries, "strange") if log.told("a", incident) is not None]
            assert ["i-1", "i-2"] == known

        with_log(redis_url, look)
        assert {b"i-1", b"i-2"} == set(client.hkeys(KEYS.sent("a")))
