"""One schedule: workers, broker, mirror and time, and all that goes wrong with them.

A worker is the real ``Runner``. Each call that it makes of a port is a point, before its effect and after it, as is
each of its failpoints and each wait. At a point the worker may die, meet an error, or stand still while the others go
on; what was under way then may arrive later. A worker that stands still goes on within the call in which it stopped,
hence the scheduler calls itself, and no thread is needed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from tests.integration.counting import Counting, runner_config
from tests.simulator.invariants import GROUP, Observer, Sent, Violation, require
from tests.simulator.mirrors import InMemory, Keeper
from tests.simulator.variants import Variant

from stagepost.edges.applier import Applications
from stagepost.edges.clock import Clock
from stagepost.edges.errors import Abort, EdgeError, MirrorUnavailable, NewProducer, Retry, Stop, Unstable
from stagepost.edges.memory import MemoryBroker, MemoryIntake, MemoryLog, MemoryProducer
from stagepost.edges.ports import Counters, Mirror, NoCounters
from stagepost.edges.runner import Runner
from stagepost.edges.watchdog import Watchdog
from stagepost.engine.plan import Emit, Topic
from stagepost.events import murmur2_partition

SESSION_S = 15.0
TRANSACTION_S = 6.0
RETENTION_S = 600.0
"""``delete.retention`` of the state topic: short, so that schedules outlive it."""

START_US = 1_700_000_000_000_000

QUIET_S = 30.0 + TRANSACTION_S + SESSION_S
"""I9: so long after the last fault everything is done. Whoever died is missed only after the session timeout."""

ERRORS: Mapping[str, tuple[type[EdgeError], ...]] = {
    "producer.init": (Retry,),
    "producer.send": (Abort,),
    "producer.flush": (Retry, Abort, NewProducer),
    "producer.flush!": (Retry,),
    "producer.send_offsets": (Retry, Abort, NewProducer),
    "producer.send_offsets!": (Retry, NewProducer),
    "producer.commit": (Retry, Abort, NewProducer),
    "producer.commit!": (Retry, NewProducer),
    "producer.abort": (Retry, NewProducer),
    "producer.abort!": (Retry, NewProducer),
    "intake.committed": (Unstable,),
    "log.bounds": (Unstable,),
    "mirror.checkpoint": (MirrorUnavailable,),
    "mirror.read": (MirrorUnavailable,),
    "mirror.apply": (MirrorUnavailable,),
    "mirror.apply!": (MirrorUnavailable,),
    "mirror.wipe": (MirrorUnavailable,),
    "mirror.wipe!": (MirrorUnavailable,),
    "mirror.timers": (MirrorUnavailable,),
}
"""What a client may meet: a request that was lost, and behind ``!`` an answer that was."""

FAILPOINTS = (
    "after_consume after_read mid_produce before_offsets after_offsets before_end committed mid_apply applied "
    "restore_committed restore_mid restore_done in_revoke"
).split()

PORTS = {
    "intake": "poll membership committed start".split(),
    "producer": "init begin send flush send_offsets commit abort".split(),
    "reader": "seek read".split(),
    "log": "bounds".split(),
    "mirror": "checkpoint read apply wipe timers".split(),
}

_ENDS_AS_A_CRASH = ("nothing came of", "the batch was refused", "what became of", "no transactional producer")
"""What a worker says when faults went on for too long; the next one settles it. Any other Stop asks for a person."""


class Killed(BaseException):
    """The process is gone: no clean-up runs."""


class _Port:
    """One port of one worker: every call is a point before its effect and after it."""

    def __init__(self, process: Process, kind: str, inner: Any) -> None:
        self._inner = inner
        for name in PORTS[kind]:
            setattr(self, name, partial(process.call, f"{kind}.{name}", getattr(inner, name), inner))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Patience(Watchdog):
    """No thread: what hangs for good is played as a death."""

    def limit(self, seconds: float, what: str) -> Any:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        pass


class _Counts(NoCounters):
    def __init__(self, total: Counter[str]) -> None:
        self._total = total

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        for name, number in counts.items():
            self._total[" ".join(name)] += number


class Process:
    """A worker. ``in_loop`` and ``in_applier`` while one of its two threads is within a call."""

    def __init__(self, world: World, name: str, transactional_id: str) -> None:
        self.world, self.name, self.transactional_id = world, name, transactional_id
        self.in_loop = self.in_applier = self.still = self.dead = False
        self.applications: Applications[Any] | None = None
        log = MemoryLog(world.broker, GROUP, transactional_id, Topic.EVENTS, TRANSACTION_S)
        self.log: Any = _Port(self, "log", log)
        self.log.intake = self._intake
        self.log.producer = lambda: _Port(self, "producer", log.producer())
        self.log.reader = lambda topic: _Port(self, "reader", log.reader(topic))
        self.intake: MemoryIntake | None = None
        self.runner = Runner(
            runner_config(
                "",
                name,
                batch=world.batch,
                transaction_timeout_s=TRANSACTION_S,
                delete_retention_s=RETENTION_S,
            ),
            Counting(cache=world.cache),
            self.log,
            _Port(self, "mirror", world.mirror),  # type: ignore[arg-type]
            _Counts(world.happened),
            self.failpoint,
            clock=world.clock,
            new_applier=self._new_applications,
            watchdog=_Patience(),
        )

    def call(self, what: str, method: Callable[..., Any], inner: Any, *args: Any) -> Any:
        world = self.world
        world.countdown -= 1
        if world.countdown <= 0:
            world.strike(self, what, partial(method, *args), inner)
        if what == "intake.poll":
            return self._poll(method, *args)
        if what == "reader.read":
            return method(world.reads, args[1])
        result = method(*args)
        world.countdown -= 1
        if world.countdown <= 0:
            world.strike(self, f"{what}!", None, inner)
        return result

    def failpoint(self, name: str) -> None:
        self.world.countdown -= 1
        if self.world.countdown <= 0:
            self.world.strike(self, name, None, None)

    def _poll(self, method: Callable[..., Any], limit: int, timeout_s: float) -> Any:
        world = self.world
        assert self.intake is not None
        if self.intake.expelled and (world.calm or world.random.random() < 0.5):
            self.intake.notice()
        found = method(limit, timeout_s)
        world.advance(0.002 if found else timeout_s)
        return found

    def _intake(self, topic: Topic) -> Any:
        self.intake = MemoryIntake(self.world.broker, GROUP, topic)
        return _Port(self, "intake", self.intake)

    def _new_applications(self, mirror: Mirror, counters: Counters, clock: Clock) -> Applications[Any]:
        self.applications = Applications(mirror, counters, clock)
        return self.applications


class World:
    """``play`` does all of it; what happened is in ``happened``, and in ``trace`` if that is wanted."""

    def __init__(
        self, seed: int, variant: Variant, tell: Callable[[str], None] | None = None, keeper: Keeper | None = None
    ) -> None:
        """``keeper``: of the mirror; the memory twin if none is given."""
        self.random = rng = random.Random(seed)
        self.variant, self.tell = variant, tell
        self.keeper = InMemory() if keeper is None else keeper
        self.keeper.flush()
        self.happened: Counter[str] = Counter()
        self.partitions = rng.choice([1, 2, 3])
        self.batch, self.cache, self.reads = rng.choice([2, 7, 50]), rng.choice([0, 2, 20]), rng.choice([1, 3, 5000])
        self.fault_every = rng.choice([15, 40, 120])
        self.contacts = rng.choice([2, 6, 15])
        self.broker = MemoryBroker(
            {Topic.EVENTS: self.partitions, Topic.STATE: self.partitions, Topic.TRANSITIONS: 1}, now=START_US
        )
        self.mirror = self.keeper.mirror(rng.choice([1, 2, 500]))
        self.kept_mirror = self.keeper.picture()
        self.kept_broker: dict[str, Any] | None = None
        self.observer = Observer(self.partitions)
        self.sent: list[Sent] = []
        self.processes: dict[str, Process] = {}
        self.leaving: list[tuple[float, MemoryIntake]] = []
        self.under_way: list[Callable[[], Any]] = []
        self.numbers = count(1)
        self.t = 0.0
        self.depth = 0
        self.calm = False
        self.countdown = self._until_next()
        self.clock = Clock(lambda: self.t, lambda: START_US + int(self.t * 1_000_000), self._sleep)

    def play(self, steps: int) -> None:
        """Raises Violation, or what nobody foresaw."""
        self.start()
        for _ in range(steps):
            self.step()
        self.finish()

    # What passes and what is planned

    def advance(self, seconds: float) -> None:
        """Time passes for everybody; members that were silent for too long are missed."""
        self.t += seconds
        self.broker.now = START_US + int(self.t * 1_000_000)
        if self.leaving:
            for at, intake in [each for each in self.leaving if each[0] <= self.t]:
                self.leaving.remove((at, intake))
                if not intake.expelled:
                    intake.expel()

    def _sleep(self, seconds: float) -> None:
        self.advance(seconds)
        if self.depth < 2:  # the appliers go on, for one of which somebody may be waiting
            self.depth += 1
            self._apply()
            self.depth -= 1

    def _until_next(self) -> int:
        return 1 + int(self.random.expovariate(1 / self.fault_every))

    def say(self, what: str) -> None:
        self.happened[what] += 1
        if self.tell is not None:
            self.tell(f"{self.t:9.3f} {'  ' * self.depth}{what}")

    # Faults at a point

    def strike(self, process: Process, point: str, call: Callable[[], Any] | None, inner: Any) -> None:
        """Something happens at this point of this worker. ``call`` is what is about to have its effect."""
        self.countdown = self._until_next()
        if self.calm:
            return
        rng = self.random
        draw = rng.random()
        if draw < 0.3:
            if point in ("mirror.apply", "mirror.wipe") and rng.random() < 0.5 and call is not None:
                self.under_way.append(partial(call.func, *call.args))  # type: ignore[attr-defined]
            self.say(f"killed {point}")
            raise Killed(point)
        if draw < 0.6 and point in ERRORS:
            error = rng.choice(ERRORS[point])
            if point in ("mirror.apply", "mirror.wipe") and rng.random() < 0.5 and call is not None:
                self.under_way.append(partial(call.func, *call.args))  # type: ignore[attr-defined]
            self.say(f"{point} {error.__name__}")
            raise error(f"planted in {point}")
        if isinstance(inner, MemoryProducer) and draw < 0.85:
            if point in ("producer.commit", "producer.abort"):
                # The client hears nothing, and sends the request again; the first copy is still under way.
                self.say(f"{point} repeated")
                self.advance(rng.uniform(0.085, 0.2))
                self.broker.hold_end(inner, point == "producer.commit")
                self.countdown = min(self.countdown, rng.randint(4, 25))
                return
            if rng.random() < 0.3:
                self.say("disconnect")
                inner.disconnected = True
                return
        if self.broker._late and rng.random() < 0.7:
            self._release_ends()
        elif self.depth < 2:
            self._stand_still(process, point)

    def _stand_still(self, process: Process, point: str) -> None:
        """This worker's thread, or all of it, stops here while the others go on; it may be missed meanwhile."""
        rng = self.random
        before, process.still = process.still, rng.random() < 0.7
        self.say(f"{'stopped' if process.still else 'slow'} {point}")
        began, long = self.t, process.still and rng.random() < 0.5
        if long and process.intake is not None:
            self.leaving.append((self.t + SESSION_S, process.intake))
        self.depth += 1
        for _ in range(rng.randint(1, 10)):
            if long and rng.random() < 0.3:
                self.advance(SESSION_S / 2)
            self.step()
        if long:
            self.advance(max(0.0, began + SESSION_S + 1 - self.t))
            for _ in range(rng.randint(0, 10)):
                self.step()
        elif rng.random() < 0.2:
            self.advance(rng.choice([0.06, 1.0, 1.5 * TRANSACTION_S]))
        self.depth -= 1
        process.still = before
        if process.dead:  # by its other thread
            raise Killed(point)
        if self.tell is not None:
            self.tell(f"{self.t:9.3f} {'  ' * self.depth}{process.name} goes on")

    # Steps of the scheduler

    def step(self) -> None:
        """Whatever comes next."""
        rng = self.random
        draw = rng.randrange(100)
        if draw < 18:
            self._send()
        elif draw < 68:
            self._turn()
        elif draw < 88:
            self._apply()
        elif draw < 90:
            self._deliver()
        elif draw < 92:
            if len(self.processes) < 3:
                self.start()
        else:
            rare = (
                self._flush,
                self._keep,
                self._roll_back,
                self._old_copy,
                self._compact,
                self._idle,
                self._leave,
                self._expel,
                self._release_ends,
                self._keep_kafka,
                self._lose_kafka,
                self._retain,
            )
            rng.choice(rare)()
        if not self.depth and rng.random() < 0.1:
            self.check()

    def check(self) -> None:
        self.observer.drain(self.broker)
        self.observer.whole(self.broker)
        self.observer.mirrored(self.mirror, self.broker)

    def start(self) -> None:
        """A worker comes up: under a name that had a life before, or under one of its own."""
        number = next(self.numbers)
        name = f"w{number}"
        fresh = self.random.random() < 0.5
        living = {each.transactional_id for each in self.processes.values() if self.calm or not each.still}
        transactional_id = name if fresh else next(each for each in ("a", "b", "c", "d") if each not in living)
        process = Process(self, name, transactional_id)
        if self.tell is not None:
            self.tell(f"{self.t:9.3f} {'  ' * self.depth}{name} starts as {transactional_id}")
        self.processes[name] = process
        self._run(process, process.runner.open)
        if name in self.processes:
            self.variant.breaks(process.runner)

    def _run(self, process: Process, what: Callable[[], object]) -> None:
        process.in_loop = True
        try:
            what()
        except Killed:
            self._bury(process)
        except Stop as error:
            if type(error) is not Stop or not str(error).startswith(_ENDS_AS_A_CRASH):
                raise Violation(f"a worker asks for a person: {type(error).__name__}: {error}") from error
            self.say(f"stop {str(error).split(' ')[1]}")
            self._bury(process)
        finally:
            process.in_loop = False

    def _bury(self, process: Process) -> None:
        """The group misses it sooner or later."""
        process.dead = True
        if self.processes.pop(process.name, None) is not None and process.intake is not None:
            self.leaving.append((self.t + self.random.choice([0.0, SESSION_S]), process.intake))
            self.advance(0.0)

    def _turn(self) -> None:
        free = [each for each in self.processes.values() if not each.in_loop and not each.still]
        if not free:
            if not self.processes:
                self.start()
            return
        process = self.random.choice(free)
        self._run(process, process.runner.turn)

    def _apply(self) -> None:
        free = [p for p in self.processes.values() if not p.in_applier and not p.still and p.applications]
        if free:
            self._attempt(self.random.choice(free))

    def _attempt(self, process: Process) -> None:
        assert process.applications is not None
        process.in_applier = True
        try:
            process.applications.attempt()
        except Killed:
            self._bury(process)
        finally:
            process.in_applier = False

    def _send(self) -> None:
        for _ in range(self.random.randint(1, 6)):
            contact, number = f"c{self.random.randrange(self.contacts)}", len(self.sent)
            kind = self.random.choice(("e", "e", "e", "timer", "gone"))
            self.advance(self.random.choice((0.0, 0.001, 0.4)))
            key, event = contact.encode(), f"{kind}{number}"
            partition = murmur2_partition(key, self.partitions)
            self.broker.publish(Emit(Topic.EVENTS, key, event.encode(), partition=partition))
            self.sent.append((contact, event, self.broker.now))

    def _deliver(self) -> None:
        """What a client gave up, or died over, arrives after all."""
        if self.under_way:
            self.say("late write")
            self.under_way.pop(self.random.randrange(len(self.under_way)))()

    def _release_ends(self) -> None:
        if self.broker._late:
            self.say("late end took effect" if self.broker.release_ends() else "late end refused")

    def _flush(self) -> None:
        self.say("flushed")
        self.keeper.flush()

    def _keep(self) -> None:
        self.kept_mirror = self.keeper.picture()

    def _roll_back(self) -> None:
        self.say("rolled back")
        self.keeper.put_back(self.kept_mirror)

    def _old_copy(self) -> None:
        """Redis comes back with what it held before tombstones were written that are gone by now."""
        self._compact()
        self.advance(1.2 * RETENTION_S)
        self._compact()
        self._roll_back()

    def _compact(self) -> None:
        self.say("compacted")
        self.observer.drain(self.broker)
        for partition in range(self.partitions):
            self.broker.compact(Topic.STATE, partition, int(RETENTION_S * 1_000_000))

    def _retain(self) -> None:
        """Input that was processed goes away: after days, so nobody is about to read it, or thinks it owns it still."""
        intakes = [each.intake for each in self.processes.values() if each.intake is not None]
        restoring = any(each.runner._restoring for each in self.processes.values())
        if self.depth or restoring or any(each.expelled or each._next_assignment for each in intakes):
            return
        self.say("retention")
        for (_, partition), (offset, _) in self.broker._committed.items():
            if self.random.random() < 0.5:
                self.broker.remove_before(Topic.EVENTS, partition, offset)

    def _idle(self) -> None:
        seconds = self.random.choice((2.0, 35.0, RETENTION_S / 2, 1.2 * RETENTION_S))
        self.say(f"nothing for {seconds:g} s")
        self.advance(seconds)

    def _leave(self) -> None:
        """A clean stop."""
        free = [p for p in self.processes.values() if not (p.in_loop or p.in_applier or p.still)]
        if free and len(self.processes) > 1:
            process = self.random.choice(free)
            self.say("clean stop")
            process.in_applier = True  # what is queued is applied by the close itself
            self._run(process, process.runner.close)
            self._bury(process)

    def _expel(self) -> None:
        """Taken for dead, yet alive: others get its partitions, and it learns of it later."""
        known = [p.intake for p in self.processes.values() if p.intake is not None and not p.intake.expelled]
        if known:
            self.say("expelled")
            self.random.choice(known).expel()

    def _keep_kafka(self) -> None:
        if not self.broker._pending and not self.depth:
            self.observer.drain(self.broker)
            broker = self.broker
            self.kept_broker = {
                "logs": {place: log[:] for place, log in broker._logs.items()},
                "starts": broker._starts.copy(),
                "committed": broker._committed.copy(),
                "sent": self.sent[:],
                "observer": self.observer.copy(),
            }

    def _lose_kafka(self) -> None:
        """All brokers go back to an earlier state. Redis does not, and workers that died left nothing behind."""
        kept, self.kept_broker = self.kept_broker, None
        if kept is None or self.depth:
            return
        self.say("Kafka lost committed data")
        self.check()
        for process in list(self.processes.values()):
            self._bury(process)
        for _, intake in self.leaving:
            if not intake.expelled:
                intake.expel()
        self.leaving.clear()
        self.under_way.clear()
        broker = self.broker
        broker._pending.clear()
        broker._owners.clear()
        broker._late.clear()
        broker._logs, broker._starts, broker._committed = kept["logs"], kept["starts"], kept["committed"]
        self.sent, self.observer = kept["sent"], kept["observer"]
        # A copy of Redis from the lost future cannot be told from one of this history: two disasters in one.
        self.kept_mirror = {}
        self.start()
        self._settle_mirror()

    def _settle_mirror(self) -> None:
        """Until a worker has looked, the mirror shows what Kafka lost: the observer must not look before."""
        calm, self.calm = self.calm, True
        for _ in range(200):
            shown = {p: self.mirror.checkpoint(p) for p in range(self.partitions)}
            if all(at is None or at.seq in self.observer.folds[p] for p, at in shown.items()):
                break
            self._turn()
        self.calm = calm

    # The end

    def finish(self) -> None:
        """No more faults: what lives goes on, and everything comes to rest."""
        self.calm = True
        everybody = self.random.random() < 0.5
        for number, process in enumerate(living := list(self.processes.values())):
            # Two that live under one name fence each other for ever.
            twin = any(each.transactional_id == process.transactional_id for each in living[number + 1 :])
            if everybody or twin:
                self._bury(process)
        if not self.processes:
            self.start()
        while self.under_way:
            self._deliver()
        began = self.t
        while self._unfinished():
            require(self.t - began < QUIET_S, "I9: not done", self._unfinished(), f"{self.t - began:.1f} s")
            self._all()
        began = self.t
        while self._unfinished() or self._timers_left():
            require(self.t - began < QUIET_S + 31.0, "I7: a timer does not fire")
            self.advance(0.5)
            self._all()
        self.check()
        self.observer.at_rest(self.mirror, self.sent)
        for process in self.processes.values():
            process.runner.close()

    def _timers_left(self) -> bool:
        values = (json.loads(value) for states in self.observer.states.values() for value in states.values())
        return any(value["due"] is not None for value in values)

    def _all(self) -> None:
        for process in list(self.processes.values()):
            self._run(process, process.runner.turn)
            assert process.applications is not None
            while not process.applications.idle():
                self._attempt(process)

    def _unfinished(self) -> str:
        self.observer.drain(self.broker)
        if self.broker._pending:
            return "a transaction is open"
        if sum(map(len, self.observer.moves.values())) < len(self.sent):
            return "events are left"
        for partition in range(self.partitions):
            at, control = self.mirror.checkpoint(partition), self.observer.controls.get(partition)
            if control is not None and (at is None or (at.seq, at.partial) != (control.seq, False)):
                return f"mirror of {partition} at {at and at.seq}, log at {control.seq}"
        return ""
