"""The desk of ``notify``: knows every incident, waits for its group, and hands it to the couriers.

The law: nothing is decided before the topic was read to its end and the sent log was read from Redis, and only about
incidents of the partitions that this worker owns. Nothing here waits for a receiver.
"""

from __future__ import annotations

import time
from collections.abc import Set
from typing import Any

from stagepost.alerts.notifications import INHIBITED, Alert, Incidents, Notification, NotNotified, Told, Why
from stagepost.edges.couriers import Courier
from stagepost.edges.errors import SlowDown
from stagepost.edges.logs import logger
from stagepost.edges.sent_log import SentLog
from stagepost.events import MICROS

RELOAD_S = 3600.0
"""How often the sent log is read anew without cause: what is too old leaves memory and Redis."""

_SHORTEST_HOLD_S = 1.0
"""Before an inhibited incident is looked at again; usually it is the group wait."""


class AlertDesk:
    """For one event loop. ``group_wait_s``: from a record's broker time to its notification."""

    def __init__(self, sent: SentLog, group_wait_s: float) -> None:
        self._sent = sent
        self._group_wait_s = group_wait_s
        self._incidents = Incidents()
        self._partition: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._held: dict[str, NotNotified] = {}
        self._owned: Set[int] = frozenset()
        self._loaded_at: float | None = None
        self._first_start = False
        self._assignments = 0
        self._log = logger("stagepost.notify")
        self.couriers: tuple[Courier, ...] = ()
        self.caught_up = False
        self.redis_error: str | None = "what was sent was not read from Redis yet"

    @property
    def ready(self) -> bool:
        return self.caught_up and self._loaded_at is not None

    @property
    def known(self) -> int:
        """Number of incidents."""
        return len(self._partition)

    def take(self, alert: Alert, partition: int, stamped: float) -> None:
        """Take up a record, from wherever it was read and however often. ``stamped``: its broker time, Unix seconds."""
        if not self._incidents.take(alert, int(stamped * MICROS), int(time.time() * MICROS)):
            return
        self._partition[alert.incident_id] = partition
        wait_s = min(max(stamped + self._group_wait_s - time.time(), 0.0), self._group_wait_s)
        # Later revisions do not put it off: who changes often would never be heard of.
        self._due.setdefault(alert.incident_id, time.monotonic() + wait_s)

    def history_read(self, worked_before: bool) -> None:
        """The topic was read to its end. ``worked_before``: whether its group had got anywhere when that began."""
        self._first_start = not worked_before
        self.caught_up = True

    def own(self, partitions: Set[int]) -> None:
        """The partitions of this worker, now."""
        self._owned = partitions

    def assigned(self) -> None:
        """Partitions have changed hands: what others have sent in the meantime has to be read first."""
        self._assignments += 1
        self._loaded_at = None

    def ruling(self, receiver: str, incident_id: str, given_up: int | None) -> Notification | NotNotified:
        """What a courier is to say next about an incident. One that is held back will be offered to it again."""
        ruling = self._decide(receiver, incident_id, given_up)
        if isinstance(ruling, NotNotified) and ruling.reason in INHIBITED:
            self._due.setdefault(incident_id, time.monotonic() + self._hold_s)
        return ruling

    def tick(self) -> None:
        """Hand on what has waited long enough. To be called a few times a second."""
        if not self.ready:
            return
        now = time.monotonic()
        for incident_id in [incident_id for incident_id, due in self._due.items() if due <= now]:
            again_at = self._hand_on(incident_id, now)
            if again_at is None:
                del self._due[incident_id]
            else:
                self._due[incident_id] = again_at

    async def delivered(self, receiver: str, incident_id: str, told: Told) -> None:
        """Record a delivery; without Redis it stays in memory until ``keep`` can write it."""
        self._sent.note(receiver, incident_id, told)
        try:
            await self._sent.write()
        except SlowDown as error:
            self._redis_said(str(error))

    async def keep(self) -> None:
        """Keep memory and Redis together. To be called every second; raises Stop when Redis refuses us."""
        try:
            # Asked in any case: what only a person can mend is to be said early.
            lost = await self._sent.lost()
            if self._loaded_at is not None and lost:
                self._log.warning("Redis has lost what was sent: live incidents are announced once more")
                self._loaded_at = None
                for courier in self.couriers:
                    courier.forget()
            if self.caught_up and (self._loaded_at is None or time.monotonic() - self._loaded_at > RELOAD_S):
                await self._load()
            await self._sent.write()
            if self._loaded_at is not None:
                self._redis_said(None)
        except SlowDown as error:
            self._redis_said(str(error))

    async def _load(self) -> None:
        anew, assignments = self._loaded_at is None, self._assignments
        # Where nothing was ever read there is a first log, which lacks nothing; otherwise a new one comes after a loss.
        await self._sent.load(0 if self._first_start else int(time.time() * MICROS))
        self._first_start = False
        if assignments != self._assignments:
            return  # partitions have changed hands meanwhile
        self._loaded_at = time.monotonic()
        if anew:
            self._look_at_all()

    def _decide(self, receiver: str, incident_id: str, given_up: int | None = None) -> Notification | NotNotified:
        if self._partition.get(incident_id) not in self._owned:
            return NotNotified(Why.ELSEWHERE)
        told = self._sent.told(receiver, incident_id)
        return self._incidents.decide(incident_id, told, self._sent.began, given_up)

    @property
    def _hold_s(self) -> float:
        return max(self._group_wait_s, _SHORTEST_HOLD_S)

    def _hand_on(self, incident_id: str, now: float) -> float | None:
        """Offer an incident to all couriers; when to look at it again, None for never."""
        again_at: float | None = None
        inhibited: NotNotified | None = None
        for courier in self.couriers:
            ruling = self._decide(courier.receiver.id, incident_id)
            if isinstance(ruling, Notification):
                if not courier.offer(incident_id):
                    again_at = now
            elif ruling.reason in INHIBITED:
                inhibited = ruling
        self._say_held(incident_id, inhibited)
        if again_at is None and inhibited is not None:
            again_at = now + self._hold_s
        return again_at

    def _say_held(self, incident_id: str, inhibited: NotNotified | None) -> None:
        """Log why nobody is told, once for each reason."""
        if inhibited is None:
            self._held.pop(incident_id, None)
        elif self._held.get(incident_id) != inhibited:
            self._held[incident_id] = inhibited
            self._log.info("not told", incident_id=incident_id, reason=inhibited.reason, detail=f"by {inhibited.by}")

    def _look_at_all(self) -> None:
        now = time.monotonic()
        known = set(self._incidents.ids())
        for held in (self._partition, self._held, self._due):
            _keep_only(held, known)
        for incident_id in known:
            self._due.setdefault(incident_id, now)

    def _redis_said(self, error: str | None) -> None:
        if error is not None and self.redis_error is None:
            self._log.warning("what was sent cannot be recorded for now", detail=error)
        self.redis_error = error


def _keep_only(found: dict[str, Any], known: Set[str]) -> None:
    for incident_id in found.keys() - known:
        del found[incident_id]
