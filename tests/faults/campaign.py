"""Runs faults against an arena, one after the other or two at a time, and measures how soon all goes on."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.faults.arena import TRANSACTION_TIMEOUT_S, Arena
from tests.faults.judge import Verdict, judge
from tests.faults.kinds import Steps, Unharmed

PATHS = {
    "A": 'transactions_total{result="aborted"}',
    "F": "fenced_total",
    "U": 'transactions_total{result="unknown"}',
    "R": "mirror_refusals_total",
    "V": "rebalances_total",
    "a new producer": "producers_replaced_total",
}
"""Ways of delivery.md 3 that leave the plain batch, and what a worker counts on each."""


def not_taken(counted: Mapping[str, int]) -> list[str]:
    """I11: which of ``PATHS`` no worker took."""
    return [
        path
        for path, metric in PATHS.items()
        if not any(number for sample, number in counted.items() if sample.startswith(f"stagepost_{metric}"))
    ]


RECOVERY_LIMIT_S = 30 + TRANSACTION_TIMEOUT_S
"""I9. On a machine that does other things besides, more: see ``Campaign.slowness``."""


@dataclass
class Result:
    """Of a campaign, for the report."""

    faults: Counter[str] = field(default_factory=Counter)
    unharmed: list[str] = field(default_factory=list)
    """Faults that could not be brought about."""
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    verdict: Verdict = field(default_factory=Verdict)
    counted: Counter[str] = field(default_factory=Counter)
    """What the workers counted, over all their lives."""
    failpoints: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    late_ends: Counter[str] = field(default_factory=Counter)
    """Held EndTxn requests that were let go, by the broker's error code."""
    rate_calm: float = 0.0
    rate_under_faults: float = 0.0
    seconds: float = 0.0
    fed: int = 0


@dataclass
class _Active:
    kind: str
    steps: Steps


@dataclass
class _Recovering:
    kind: str
    since: float
    ends: dict[int, int]
    told: bool = False


class Campaign:
    """``at_once``: how many faults may be under way together. ``slowness`` stretches the limit of I9."""

    def __init__(
        self, arena: Arena, say: Callable[[str], None], at_once: int = 1, slowness: float = 1.0, calm_s: float = 5.0
    ) -> None:
        self._arena = arena
        self._say = say
        self._at_once = at_once
        self._limit_s = RECOVERY_LIMIT_S * slowness
        self._calm_s = calm_s
        self._active: list[_Active] = []
        self._recovering: list[_Recovering] = []
        self._tended = 0.0
        self.result = Result()

    def run(self, workers: list[str], faults: Iterator[tuple[str, Steps]]) -> Result:
        """Start the workers, let it run in peace, do the faults, wait until all is at rest, and judge."""
        arena, result = self._arena, self.result
        for name in workers:
            arena.start(name)
        self._until(lambda: all(worker.ready() for worker in arena.workers.values()), 120, "the workers are ready")
        self._until(
            lambda: arena.caught_up(arena.feeder.ends), 120, "the workers have caught up before the first fault"
        )
        began = time.monotonic()
        result.rate_calm = self._rate_during(
            lambda: self._until(lambda: time.monotonic() > began + self._calm_s, 600, "")
        )
        result.rate_under_faults = self._rate_during(lambda: self._attack(faults))
        arena.feeder.stop()
        result.verdict.violations += [f"feeder: {why}" for why in arena.feeder.failed]
        result.seconds = time.monotonic() - began
        self._settle()
        self._conclude()
        return result

    def _rate_during(self, what: Callable[[], None]) -> float:
        began, before = time.monotonic(), sum(self._arena.watch.committed.values())
        what()
        return (sum(self._arena.watch.committed.values()) - before) / (time.monotonic() - began)

    def _attack(self, faults: Iterator[tuple[str, Steps]]) -> None:
        more = True
        while more or self._active or self._recovering:
            if more and len(self._active) < self._at_once and len(self._recovering) < self._at_once:
                following = next(faults, None)
                more = following is not None
                if following is not None:
                    self._active.append(_Active(*following))
            self._turn()

    def _turn(self) -> None:
        for active in list(self._active):
            try:
                next(active.steps)
                continue
            except StopIteration:
                self.result.faults[active.kind] += 1
                self._recovering.append(_Recovering(active.kind, time.monotonic(), dict(self._arena.feeder.ends)))
            except Unharmed as why:
                self.result.unharmed.append(f"{active.kind}: {why}")
                self._say(f"{active.kind} could not be done: {why}")
            self._active.remove(active)
        now = time.monotonic()
        for recovering in list(self._recovering):
            took = now - recovering.since
            if self._arena.caught_up(recovering.ends):
                self.result.recoveries[recovering.kind].append(took)
                self._recovering.remove(recovering)
                self._say(f"{recovering.kind}: all goes on after {took:.1f} s")
            elif took > self._limit_s and not recovering.told:
                recovering.told = True
                behind = self._behind(recovering.ends)
                self._say(f"{recovering.kind}: {behind}")
                self.result.verdict.broken("I9", f"after {recovering.kind}, {took:.0f} s: {behind}")
            elif took > 4 * self._limit_s:
                self._recovering.remove(recovering)
        if now - self._tended > 0.5:
            self._arena.tend()
            self._tended = time.monotonic()
        time.sleep(0.03)

    def _behind(self, ends: dict[int, int]) -> str:
        watch = self._arena.watch
        return ", ".join(
            f"partition {partition} is at {watch.committed.get(partition, 0)} of {end}, last committed by "
            f"{watch.writers.get(partition)}"
            for partition, end in sorted(ends.items())
            if watch.committed.get(partition, 0) < end
        )

    def _until(self, what: Callable[[], bool], within_s: float, why: str) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            if time.monotonic() > deadline:
                self.result.verdict.broken("I9", f"not within {within_s:.0f} s: {why}")
                return
            self._turn()

    def _settle(self) -> None:
        """At rest: all that was fed is committed, by both roles, and Redis has had time to follow."""
        arena = self._arena
        self._until(lambda: arena.caught_up(arena.feeder.ends), 4 * self._limit_s, "everything is committed at the end")
        resting = time.monotonic() + 3
        self._until(lambda: time.monotonic() > resting, 60, "")

    def _conclude(self) -> None:
        arena, result = self._arena, self.result
        for worker in arena.workers.values():
            if worker.process.poll() is not None:
                continue
            arena.look_at(worker)
            arena.look_at_log(worker)
            self._flat(worker.role, worker.metrics())
        arena.watch.close()
        verdict = judge(arena.inside, arena.watch.shown)
        result.verdict.violations += verdict.violations
        result.verdict.counts += verdict.counts
        result.counted, result.exits = arena.tally.seen, arena.exits
        result.failpoints = arena.failpoints
        if taken := sum(late.error == 0 for late in arena.kafka_proxy.late):
            result.verdict.broken("I4", f"{taken} late EndTxn took effect in a later transaction of the same producer")
        result.late_ends = Counter(str(late.error) for late in arena.kafka_proxy.late)
        result.fed = arena.feeder.sent

    def _flat(self, role: str, metrics: dict[str, float]) -> None:
        """I6, I10 of a worker that lives."""
        if difference := metrics.get("stagepost_accounting_difference", 0.0):
            self.result.verdict.broken("I6", f"a {role} worker has {difference:g} events too many or too few")
        memory, files = metrics.get("process_resident_memory_bytes", 0.0), metrics.get("process_open_fds", 0.0)
        if memory > 500e6 or files > 200:
            self.result.verdict.broken("I10", f"a {role} worker has {memory / 1e6:.0f} MB and {files:.0f} descriptors")
