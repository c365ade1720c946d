"""One courier per receiver: a bounded queue of incidents, one attempt at a time, retries with backoff.

The law: a courier waits for nobody but its own receiver. Its queue holds incidents, not messages: what is to be said
next is asked for at each attempt, so nothing is sent that somebody has heard in the meantime. After each message its
incident is queued again, until nothing more is to be said of it: all revisions go out, in order.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from stagepost.alerts.notifications import Notification, NotNotified, Told
from stagepost.edges.logs import logger
from stagepost.edges.receivers import Delivered, Failed, Receiver

QUEUE_LIMIT = 10_000
"""Incidents that wait for one receiver; further ones stay with the desk and are offered again."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Between attempts, doubling from the first to the longest: an incident is news for hours."""

REFUSALS_LIMIT = 8
"""Attempts for a revision that the receiver refuses; with the waits between them about two minutes. Then the next one
has its turn. A receiver that cannot be reached, or fails by its own account, is tried for as long as that lasts."""


class Desk(Protocol):
    """Where a courier asks what to say, and tells what it has said."""

    def ruling(self, receiver: str, incident_id: str, given_up: int | None) -> Notification | NotNotified: ...

    async def delivered(self, receiver: str, incident_id: str, told: Told) -> None: ...


class Courier:
    """For one event loop. ``count``: called with ``sent``, ``failed`` or ``given_up`` for each attempt."""

    def __init__(self, receiver: Receiver, desk: Desk, count: Callable[[str], None]) -> None:
        self.receiver = receiver
        self._desk = desk
        self._count = count
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._filled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failures = 0
        self._refusals: dict[str, int] = {}
        self._given_up: dict[str, int] = {}
        self._log = logger("stagepost.notify", channel=receiver.channel, receiver=receiver.id)

    def offer(self, incident_id: str) -> bool:
        """Queue an incident; False when there is no room. One that is queued already keeps its place."""
        if incident_id not in self._queue and len(self._queue) >= QUEUE_LIMIT:
            return False
        self._queue[incident_id] = None
        self._filled.set()
        return True

    def forget(self) -> None:
        """The sent log was lost: what was given up is tried once more."""
        self._given_up.clear()

    def stop(self) -> None:
        """Finish the attempt under way, and no more."""
        self._stopping.set()
        self._filled.set()

    async def run(self) -> None:
        """Work until ``stop``."""
        while not self._stopping.is_set():
            await self._filled.wait()
            if not self._queue:
                self._filled.clear()
                continue
            incident_id, _ = self._queue.popitem(last=False)
            ruling = self._desk.ruling(self.receiver.id, incident_id, self._given_up.get(incident_id))
            if isinstance(ruling, Notification):
                await self._attempt(ruling)
                self._come_back(incident_id)

    async def _attempt(self, notification: Notification) -> None:
        alert = notification.alert
        result = await self.receiver.deliver(notification)
        if isinstance(result, Delivered):
            self._failures = 0
            self._refusals.pop(alert.key, None)
            self._count("sent")
            self._log.info("told", incident_id=alert.incident_id, rev=alert.rev, status=alert.status)
            await self._desk.delivered(self.receiver.id, alert.incident_id, Told(alert.rev, alert.status))
            return
        self._failures += 1
        if result.refused and self._refused_too_often(alert.key):
            self._give_up(notification, result)
            return
        self._count("failed")
        wait_s = result.wait_s or backoff_s(self._failures)
        self._log.warning(
            "not told, trying again",
            incident_id=alert.incident_id,
            rev=alert.rev,
            detail=result.detail,
            attempt=self._failures,
            wait_s=round(wait_s, 1),
        )
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _come_back(self, incident_id: str) -> None:
        """Queue what was just taken out, even if the desk has filled its place, which offers it no more.

        At the end: a message that one receiver cannot take does not stand before all others.
        """
        self._queue[incident_id] = None
        self._filled.set()

    def _refused_too_often(self, key: str) -> bool:
        self._refusals[key] = self._refusals.get(key, 0) + 1
        return self._refusals[key] >= REFUSALS_LIMIT

    def _give_up(self, notification: Notification, result: Failed) -> None:
        alert = notification.alert
        self._refusals.pop(alert.key, None)
        if len(self._given_up) >= QUEUE_LIMIT:
            self._given_up.clear()
        self._given_up[alert.incident_id] = alert.rev
        self._count("given_up")
        self._log.error(
            "refused by the receiver, given up", incident_id=alert.incident_id, rev=alert.rev, detail=result.detail
        )


def backoff_s(failures: int) -> float:
    """Seconds before the next attempt after ``failures`` in a row, with a fifth of chance against marching in step."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return longest * random.uniform(0.8, 1.0)
