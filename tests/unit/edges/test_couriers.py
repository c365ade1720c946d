"""A courier with receivers that fail, refuse, or take their time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from tests.listeners import alert_record

from stagepost.alerts.lifecycle import Phase
from stagepost.alerts.notifications import Alert, Incidents, Notification, NotNotified, Told, read_alert
from stagepost.edges import couriers
from stagepost.edges.couriers import LONGEST_WAIT_S, REFUSALS_LIMIT, Courier, backoff_s
from stagepost.edges.receivers import Delivered, Failed

A, B = "aaaa-2026-05-04T09:35Z", "bbbb-2026-05-04T09:35Z"

Deliver = Callable[[Alert], Awaitable[Delivered | Failed]]


class Written:
    """A receiver whose answers a test writes."""

    id = "webhook-1"
    channel = "webhook"

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self.attempts: list[str] = []

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        self.attempts.append(notification.alert.key)
        return await self._deliver(notification.alert)


class Desk:
    """What is known, and what was told, in memory."""

    def __init__(self, *records: bytes) -> None:
        self.incidents = Incidents()
        self.told: dict[str, Told] = {}
        for record in records:
            self.take(record)

    def take(self, record: bytes) -> None:
        alert = read_alert(record)
        assert isinstance(alert, Alert)
        self.incidents.take(alert, 0, 0)

    def ruling(self, receiver: str, incident_id: str, given_up: int | None) -> Notification | NotNotified:
        return self.incidents.decide(incident_id, self.told.get(incident_id), 0, given_up)

    async def delivered(self, receiver: str, incident_id: str, told: Told) -> None:
        self.told[incident_id] = told


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(couriers, "LONGEST_WAIT_S", 0.01)


def run(desk: Desk, deliver: Deliver, until: Callable[[Written], bool]) -> tuple[list[str], Counter[str]]:
    """Attempts in order, and their results, of a courier that was offered every incident of the desk."""
    receiver, results = Written(deliver), Counter[str]()

    async def work() -> None:
        courier = Courier(receiver, desk, lambda result: results.update([result]))
        running = asyncio.create_task(courier.run())
        for incident_id in list(desk.incidents.ids()):
            assert courier.offer(incident_id)
        async with asyncio.timeout(5):
            while not until(receiver):
                await asyncio.sleep(0.001)
            courier.stop()
            await running

    asyncio.run(work())
    return receiver.attempts, results


def test_what_fails_is_tried_again_and_sent_once() -> None:
    answers = iter([Failed("status 500"), Failed("status 500"), Delivered()])

    async def deliver(_alert: Alert) -> Delivered | Failed:
        return next(answers)

    desk = Desk(alert_record(A))
    attempts, results = run(desk, deliver, lambda _receiver: A in desk.told)
    assert ([f"{A}:1"] * 3, {"failed": 2, "sent": 1}) == (attempts, results)


def test_all_revisions_go_out_in_order_and_once_also_those_that_come_meanwhile() -> None:
    desk = Desk(alert_record(A), alert_record(A, 2))
    answers = iter([Failed("status 500"), Delivered(), Failed("status 500"), Delivered(), Delivered()])

    async def deliver(alert: Alert) -> Delivered | Failed:
        desk.take(alert_record(A, 3, "resolved"))
        return next(answers)

    attempts, results = run(desk, deliver, lambda _receiver: desk.told.get(A) == Told(3, Phase.RESOLVED))
    assert [f"{A}:{rev}" for rev in (1, 1, 2, 2, 3)] == attempts
    assert {"failed": 2, "sent": 3} == results


def test_what_was_sent_by_somebody_else_meanwhile_is_not_sent() -> None:
    desk = Desk(alert_record(A), alert_record(B))

    async def deliver(alert: Alert) -> Delivered | Failed:
        desk.told[A] = Told(1, Phase.FIRING)
        return Failed("status 500") if alert.incident_id == A else Delivered()

    attempts, _results = run(desk, deliver, lambda _receiver: B in desk.told)
    assert [f"{A}:1", f"{B}:1"] == attempts


def test_a_message_that_is_refused_stands_before_no_other_and_is_given_up() -> None:
    desk = Desk(alert_record(A), alert_record(B))

    async def deliver(alert: Alert) -> Delivered | Failed:
        return Failed("status 400", refused=True) if alert.incident_id == A else Delivered()

    def given_up(receiver: Written) -> bool:
        return receiver.attempts.count(f"{A}:1") == REFUSALS_LIMIT

    attempts, results = run(desk, deliver, given_up)
    assert [f"{A}:1", f"{B}:1"] == attempts[:2]
    assert {"sent": 1, "failed": REFUSALS_LIMIT - 1, "given_up": 1} == results


def test_after_a_revision_that_is_refused_the_next_one_has_its_turn() -> None:
    desk = Desk(alert_record(A), alert_record(A, 2), alert_record(A, 3, "resolved"))

    async def deliver(alert: Alert) -> Delivered | Failed:
        return Failed("status 400", refused=True) if alert.rev == 1 else Delivered()

    attempts, results = run(desk, deliver, lambda _receiver: desk.told.get(A) == Told(3, Phase.RESOLVED))
    assert [f"{A}:1"] * REFUSALS_LIMIT + [f"{A}:2", f"{A}:3"] == attempts
    assert {"failed": REFUSALS_LIMIT - 1, "given_up": 1, "sent": 2} == results


def test_a_queue_that_was_filled_meanwhile_has_room_for_what_was_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "QUEUE_LIMIT", 1)
    desk = Desk(alert_record(A), alert_record(A, 2))
    offered: list[bool] = []

    class Filling(Written):
        async def deliver(self, notification: Notification) -> Delivered | Failed:
            desk.take(alert_record(B))
            offered.append(courier.offer(B))
            return await super().deliver(notification)

    async def deliver(_alert: Alert) -> Delivered | Failed:
        return Delivered()

    receiver = Filling(deliver)
    courier = Courier(receiver, desk, lambda _result: None)

    async def work() -> None:
        running = asyncio.create_task(courier.run())
        courier.offer(A)
        async with asyncio.timeout(5):
            while desk.told != {A: Told(2, Phase.FIRING), B: Told(1, Phase.FIRING)}:
                await asyncio.sleep(0.001)
            courier.stop()
            await running

    asyncio.run(work())
    assert [f"{A}:1", f"{B}:1", f"{A}:2"] == receiver.attempts
    assert offered[0]


def test_a_full_queue_takes_no_more_and_the_one_that_waits_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "QUEUE_LIMIT", 1)

    async def deliver(_alert: Alert) -> Delivered | Failed:
        raise AssertionError("nothing runs here")

    courier = Courier(Written(deliver), Desk(), lambda _result: None)
    assert (True, True, False) == (courier.offer(A), courier.offer(A), courier.offer(B))


def test_the_wait_doubles_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "FIRST_WAIT_S", 1.0)
    monkeypatch.setattr(couriers, "LONGEST_WAIT_S", LONGEST_WAIT_S)
    waits = [backoff_s(failures) for failures in (1, 2, 3, 50)]
    assert all(0.8 * each <= wait <= each for wait, each in zip(waits, (1.0, 2.0, 4.0, LONGEST_WAIT_S), strict=True))
