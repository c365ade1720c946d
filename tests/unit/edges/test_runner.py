"""The runner over the broker and the mirror in memory: seeded schedules of faults, each of which replays.

A schedule plays one or two workers turn by turn. Requests and answers get lost, workers die at any step, are taken for
dead while they live, and the mirror is emptied or rolled back. At the end everything was done once.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections import Counter, defaultdict
from typing import Any

import pytest
from tests.integration.counting import Counting, runner_config

from stagepost.edges import applier, restore, transactions
from stagepost.edges.errors import Abort, EdgeError, NewProducer, Retry
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.ports import NoCounters
from stagepost.edges.runner import Runner
from stagepost.engine.plan import CONTROL_KEY, Emit, Topic, decode_control
from stagepost.events import murmur2_partition

PARTITIONS = 3
TOPICS = {Topic.EVENTS: PARTITIONS, Topic.STATE: PARTITIONS, Topic.TRANSITIONS: 1}
SCHEDULES = 150

FAILPOINTS = (
    "after_consume after_read mid_produce before_offsets after_offsets before_end committed mid_apply applied "
    "restore_committed restore_mid restore_done in_revoke"
).split()

FAULTS: tuple[tuple[str, type[EdgeError]], ...] = (
    ("flush", Retry),
    ("flush", Abort),
    ("flush", NewProducer),
    ("send_offsets", Retry),
    ("send_offsets", Abort),
    ("send_offsets", NewProducer),
    ("send_offsets!", NewProducer),
    ("commit", Retry),
    ("commit", NewProducer),
    ("commit!", NewProducer),
    ("abort", NewProducer),
    ("abort!", NewProducer),
    ("init", Retry),
)


class Killed(BaseException):
    """The process is gone: no clean-up runs."""


class Play:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.broker = MemoryBroker(TOPICS)
        self.mirror = MemoryMirror()
        self.snapshot = MemoryMirror()
        self.sent: list[tuple[str, str]] = []
        self.workers: dict[str, Runner] = {}
        self.intakes: dict[str, Any] = {}
        self.die_at: str | None = None
        self.happened: Counter[str] = Counter()

    def start(self, name: str) -> None:
        log = MemoryLog(self.broker, "group", f"id.{name}", Topic.EVENTS)
        config = runner_config("", name, batch=7, idle_after_s=3600.0)
        runner = Runner(config, Counting(cache=3), log, self.mirror, NoCounters(), self.failpoint)
        try:
            runner.open()
        except Retry:
            return
        self.workers[name] = runner
        self.intakes[name] = runner._intake

    def failpoint(self, name: str) -> None:
        if name == self.die_at:
            self.die_at = None
            raise Killed(name)

    def bury(self, name: str) -> None:
        """What was sent to Redis may still arrive; the group misses the member sooner or later."""
        runner = self.workers.pop(name)
        self.intakes.pop(name).close()
        assert runner._work is not None
        runner._work._applier.close(0)  # type: ignore[attr-defined]
        runner._watchdog.close()

    def send(self) -> None:
        for _ in range(self.random.randint(1, 12)):
            number = len(self.sent)
            contact, event = f"c{self.random.randrange(15)}", f"e{number}"
            self.broker.now += self.random.randint(0, 400_000)
            partition = murmur2_partition(contact.encode(), PARTITIONS)
            self.broker.publish(Emit(Topic.EVENTS, contact.encode(), event.encode(), partition=partition))
            self.sent.append((contact, event))

    def turn(self, name: str) -> None:
        try:
            self.workers[name].turn()
        except Killed as where:
            self.happened[f"killed {where}"] += 1
            self.bury(name)

    def step(self) -> None:
        name = self.random.choice("ab")
        match self.random.randrange(20):
            case 0 | 1 | 2 | 3:
                self.send()
            case 4:
                self.die_at = self.random.choice(FAILPOINTS)
            case 5 | 6:
                self.fault_once(*self.random.choice(FAULTS))
            case 7:
                self.happened["flushed"] += 1
                self.mirror.flush()
            case 8:
                self.snapshot.__dict__.update(self.picture())
            case 9:
                self.happened["rolled back"] += 1
                self.mirror.__dict__.update(copy.deepcopy(self.picture(self.snapshot)))
            case 10 if name in self.intakes:
                # Taken for dead, yet alive: its partitions go to others, and it learns of it much later.
                self.happened["expelled"] += 1
                self.intakes[name].close()
            case _:
                if name in self.workers:
                    self.turn(name)
                else:
                    self.start(name)

    def picture(self, of: MemoryMirror | None = None) -> dict[str, Any]:
        mirror = of or self.mirror
        kept = ("checkpoints", "values", "timers", "stories")
        with mirror._lock:  # batches are applied by a thread
            return {name: copy.deepcopy(getattr(mirror, name)) for name in kept}

    def fault_once(self, step: str, error: type[EdgeError]) -> None:
        def fault(now: str) -> None:
            if now == step:
                self.broker.fault = lambda step: None
                self.happened[f"{step} {error.__name__}"] += 1
                raise error(f"planted in {step}")

        self.broker.fault = fault

    def finish(self) -> None:
        """No more faults: one fresh worker brings everything to rest."""
        self.broker.fault = lambda step: None
        self.die_at = None
        for name in list(self.workers):
            self.bury(name)
        for name in "ab":  # ends what they left open
            MemoryLog(self.broker, "group", f"id.{name}", Topic.EVENTS).producer().init(1)
        self.start("c")
        deadline = time.monotonic() + 10
        while self.unfinished():
            assert time.monotonic() < deadline, self.unfinished()
            self.workers["c"].turn()
        self.workers["c"].close()

    def unfinished(self) -> str:
        if len(self.counted()) < len(self.sent):
            return f"{len(self.counted())} of {len(self.sent)} events"
        for partition in range(PARTITIONS):
            at = self.mirror.checkpoint(partition)
            seqs = self.seqs(partition)
            if seqs and (at is None or (at.seq, at.partial) != (seqs[-1], False)):
                return f"mirror of {partition} at {at}"
        return ""

    def counted(self) -> list[tuple[str, str, str]]:
        values = [(r.value or b"").decode() for r in self.broker.committed_records(Topic.TRANSITIONS, 0)]
        moves = [(contact, number, event) for contact, number, event in (value.split() for value in values)]
        return [move for move in moves if move[1] != "timer"]

    def seqs(self, partition: int) -> list[int]:
        records = self.broker.committed_records(Topic.STATE, partition)
        return [decode_control(r.value or b"").seq for r in records if r.key == CONTROL_KEY]

    def check(self) -> None:
        counted = self.counted()
        assert Counter(self.sent) == Counter((contact, event) for contact, _, event in counted)
        numbers: dict[str, list[int]] = defaultdict(list)
        for contact, number, _ in counted:
            numbers[contact].append(int(number))
        assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())
        for partition in range(PARTITIONS):
            seqs = self.seqs(partition)
            assert seqs == list(range(1, len(seqs) + 1))
            folded: dict[str, bytes] = {}
            for record in self.broker.committed_records(Topic.STATE, partition):
                if record.key != CONTROL_KEY:
                    folded[record.key.decode()] = record.value or b""
            assert self.mirror.states(partition) == folded
            due = {contact: json.loads(value)["due"] for contact, value in folded.items()}
            assert self.mirror.due(partition) == {contact: at for contact, at in due.items() if at is not None}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_PAUSE_S", 0.0)
    monkeypatch.setattr(restore, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(applier, "_PAUSES_S", (0.0,))


@pytest.mark.usefixtures("no_pauses")
def test_every_schedule_of_faults_ends_with_everything_done_once() -> None:
    happened: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        play = Play(seed)
        try:
            for _ in range(150):
                play.step()
            play.finish()
            play.check()
        except BaseException as error:
            raise AssertionError(f"schedule {seed}, after {dict(play.happened)}") from error
        happened += play.happened
    hit = {f"killed {name}" for name in FAILPOINTS} | {f"{step} {error.__name__}" for step, error in FAULTS}
    assert hit | {"flushed", "rolled back", "expelled"} == set(happened)
