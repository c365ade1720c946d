"""What the census says is what a recount of all states gives, also when counting began in the middle of a stream."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from tests.integration.stream import JOURNEY, events
from tests.timers import page_of

from stagepost.engine import journey_worker
from stagepost.engine.journey_worker import JourneyBatch, JourneyPartition, JourneyProcessor
from stagepost.engine.plan import Control, Emit, PartitionPlan, Record, Topic
from stagepost.events import DAY, MICROS, parse_rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.parse import parse_journey
from stagepost.journey.state import ACTIVE, unpack

START = parse_rfc3339("2026-09-01T00:00:00Z")


class Worker:
    """One partition, the states that it wrote, and a counting that is under way."""

    def __init__(self, cache: int = 8) -> None:
        journey = parse_journey(JOURNEY, "nurture.yaml").journey
        assert journey is not None
        self.processor = JourneyProcessor(program=compile_program([journey]), tally_partitions=1, cache_contacts=cache)
        self.partition: JourneyPartition = self.processor.open(0, 1, None)
        self.states: dict[str, bytes] = {}
        self.plan: PartitionPlan | None = None
        self.emitted: list[Emit] = []
        self.learnt = 0

    def load(self, wanted: list[str]) -> None:
        self.processor.load(self.partition, {key: self.states.get(key) for key in wanted})

    def take(self, records: list[Record]) -> None:
        while wanted := list(self.processor.wants(self.partition)):
            self.load(wanted)
        while records:
            self.batch(records, records[-1].offset + 1, None)
            records = [record for record in records if record.offset >= self.partition.next_offset]

    def idle(self, now: int) -> None:
        while self.partition.clock < now:
            self.batch([], self.partition.next_offset, now)

    def batch(self, records: list[Record], next_offset: int, now: int | None) -> None:
        batch = self.processor.read(self.partition, records, next_offset, now)
        while (wanted := self.processor.unknown(self.partition, batch)) is not None:
            self.learnt += 1
            batch = self.processor.learn(self.partition, batch, *page_of(self.due, wanted.after, wanted.enough))
        self.load(list(batch.needs))
        plan = self.processor.plan(self.partition, batch)
        assert plan is not None
        self.processor.applied(self.partition, plan)
        for key, value in plan.states.items():
            self.states.pop(key, None)
            if value is not None:
                self.states[key] = value
        self.plan = plan
        self.emitted += plan.emits

    def restart(self) -> None:
        plan = self.plan
        assert plan is not None
        control = Control(
            seq=plan.seq,
            in_off=plan.next_offset,
            clock=plan.clock,
            n_out=0,
            n_states=0,
            definitions=dict(plan.definitions),
            codec=2,
            proto=1,
            writer="",
        )
        self.partition = self.processor.open(0, 1, control)

    @property
    def due(self) -> dict[str, int]:
        found = {contact: self.processor.due(value) for contact, value in self.states.items()}
        return {contact: at for contact, at in found.items() if at is not None}

    def gauges(self, name: str) -> dict[tuple[str, ...], float]:
        found = self.processor.gauges(self.partition, self.partition.clock)
        return {key[1:]: n for key, n in found.items() if key[0] == name and n}

    def recount(self, *, stalled: bool) -> Counter[tuple[str, str]]:
        runs = [item for key, value in self.states.items() if key[0] != "\x00" for item in unpack(value).runs.items()]
        return Counter((name, run.place) for name, run in runs if run.status == ACTIVE and (run.stalled or not stalled))


def records(seed: int) -> list[Record]:
    made = []
    for offset, (contact, event) in enumerate(events(seed, 40, 900, START)):
        at = START + offset * 30 * DAY // 900 + DAY
        made.append(Record(Topic.EVENTS, 0, offset, at, contact.encode(), event))
        if offset % 97 == 50:
            erased = b'{"id":"x%d","type":"contact.erased","occurred_at":"2026-09-02T00:00:00Z","contact":"%s"}'
            made[-1] = Record(Topic.EVENTS, 0, offset, at, contact.encode(), erased % (offset, contact.encode()))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_counting_that_begins_anywhere_ends_with_what_a_recount_gives(seed: int) -> None:
    chance, worker, stream = random.Random(seed), Worker(), records(seed)
    left, stalls = stream, 0
    while left:
        n = chance.randint(1, 60)
        worker.take(left[:n])
        left = left[n:]
        assert worker.gauges("contacts") == worker.recount(stalled=False)
        stalls += worker.recount(stalled=True).total()
        assert worker.gauges("stalled_contacts") == worker.recount(stalled=True)
        if chance.random() < 0.2:
            worker.restart()
            shown = sorted(worker.states)
            while shown and left:
                assert worker.gauges("contacts") == {}
                some, shown = shown[:7], shown[7:]
                worker.processor.survey(worker.partition, {key: worker.states.get(key) for key in some}, not shown)
                n = chance.randint(1, 5)
                worker.take(left[:n])
                left = left[n:]
            worker.processor.survey(worker.partition, dict(worker.states), True)
    assert stalls > 0


def test_timers_that_the_clock_has_passed_are_told() -> None:
    worker = Worker(cache=100)
    worker.take(records(1)[:200])
    clock = worker.partition.clock
    assert worker.processor.gauges(worker.partition, clock)["timers_due",] == 0
    due = sorted(at for contact in worker.states if (at := worker.partition.timers.due(contact)) is not None)
    assert worker.processor.gauges(worker.partition, due[4] + MICROS)["timers_due",] == sum(
        at < due[4] + MICROS for at in due
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_that_keeps_few_timers_does_what_one_does_that_keeps_all(seed: int) -> None:
    chance, few, all_ = random.Random(seed), Worker(cache=8), Worker(cache=10_000)
    left = records(seed)
    while left:
        n = chance.randint(1, 60)
        for worker in (few, all_):
            worker.take(left[:n])
        left = left[n:]
        if chance.random() < 0.1:
            few.restart()
    assert few.emitted == all_.emitted
    assert few.states == all_.states
    assert len(few.partition.timers) <= 8 < len(all_.partition.timers)
    assert (few.learnt > 20, all_.learnt) == (True, 0)


@pytest.mark.parametrize("seed", range(3))
def test_more_timers_than_go_into_a_batch_fire_in_several_and_move_nobody_otherwise(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, slow = Worker(cache=10_000), Worker(cache=10_000)
    stream = records(seed)
    left, most = stream, 0
    batches = 0
    plan = JourneyProcessor.plan

    def watched(processor: JourneyProcessor, partition: JourneyPartition, batch: JourneyBatch) -> PartitionPlan | None:
        nonlocal batches, most
        made = plan(processor, partition, batch)
        assert made is not None
        batches += 1
        moves = [json.loads(emit.value or b"") for emit in made.emits if emit.topic is Topic.TRANSITIONS]
        most = max(most, sum(move["timer"] is not None for move in moves))
        return made

    monkeypatch.setattr(JourneyProcessor, "plan", watched)
    while left:
        some, left = left[:250], left[250:]
        usual.take(some)
        monkeypatch.setattr(journey_worker, "TIMERS_FIRED", 3)
        slow.take(some)
        monkeypatch.undo()
        monkeypatch.setattr(JourneyProcessor, "plan", watched)
    end = stream[-1].timestamp + 90 * DAY
    usual.idle(end)
    assert most > 3, "there is something to spread"
    monkeypatch.setattr(journey_worker, "TIMERS_FIRED", 3)
    most, batches = 0, 0
    slow.idle(end)
    assert (most <= 3, batches > 10) == (True, True)
    moves = [[emit.value for emit in w.emitted if emit.topic is Topic.TRANSITIONS] for w in (usual, slow)]
    assert moves[0] == moves[1]
    assert usual.states == slow.states
