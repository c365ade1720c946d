"""Seeded schedules of faults for workers with real threads, each of which replays.

A schedule plays one or two workers turn by turn. Requests and answers get lost, workers die at any step, are taken for
dead while they live, and the mirror is emptied or rolled back.
"""

from __future__ import annotations

import copy
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from stagepost.edges import applier, restore, transactions
from stagepost.edges.errors import Abort, EdgeError, NewProducer, Retry
from stagepost.edges.memory import MemoryBroker, MemoryLog, MemoryMirror
from stagepost.edges.runner import Runner
from stagepost.engine.plan import Topic

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


class Play(ABC):
    """One schedule. What is sent, and by which workers it is processed, is for whoever plays."""

    def __init__(self, seed: int, topics: Mapping[Topic, int]) -> None:
        self.random = random.Random(seed)
        self.broker = MemoryBroker(topics)
        self.mirror = MemoryMirror()
        self.snapshot = MemoryMirror()
        self.sent: list[tuple[str, str]] = []
        self.workers: dict[str, Runner] = {}
        self.intakes: dict[str, Any] = {}
        self.die_at: str | None = None
        self.happened: Counter[str] = Counter()

    @abstractmethod
    def start(self, name: str) -> None: ...

    @abstractmethod
    def send(self) -> None: ...

    @abstractmethod
    def unfinished(self) -> str:
        """What is left to do; empty: nothing."""

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
        kept = ("checkpoints", "values", "dues", "stories")
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


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_PAUSE_S", 0.0)
    monkeypatch.setattr(restore, "_ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(applier, "_PAUSES_S", (0.0,))
