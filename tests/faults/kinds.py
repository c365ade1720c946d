"""The faults, each alone to be had by its name. A fault is a generator: it does harm, yields while that lasts, and ends
when the harm is lifted. So several can be under way at once, and one loop looks after the workers meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from functools import wraps

import redis
from tests.faults.arena import TRANSACTION_TIMEOUT_S, Arena
from tests.faults.cluster import Proxies
from tests.faults.disk import fill
from tests.faults.proxy import TO_CLIENT, TO_SERVER, Proxy

from stagepost.edges.failpoints import ACTIONS, NAMES
from stagepost.edges.local_servers import answers

Steps = Generator[None, None, None]
Fault = Callable[[Arena], Steps]

END_SENT = "end_sent"
"""Between EndTxn and its answer: the proxy knows when that is, the worker does not."""

POINTS = (*NAMES, END_SENT)


class Unharmed(Exception):
    """The fault could not be brought about; the message says why."""


def wait(seconds: float) -> Steps:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield


def wait_until(what: Callable[[], bool], within_s: float, why: str) -> Steps:
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            raise Unharmed(f"not within {within_s:g} s: {why}")
        yield


def _alone(server: str) -> Callable[[Fault], Fault]:
    """One fault at a time per server: one that is down cannot be asked for anything."""

    def of(fault: Fault) -> Fault:
        @wraps(fault)
        def when_free(arena: Arena) -> Steps:
            while server in arena.harmed:
                yield
            arena.harmed.add(server)
            try:
                yield from fault(arena)
            finally:
                arena.harmed.discard(server)

        return when_free

    return of


def kill(arena: Arena) -> Steps:
    """A worker is gone without a word."""
    arena.signal(arena.one(), signal.SIGKILL)
    yield


def terminate(arena: Arena) -> Steps:
    """A worker is asked to end, as in a rolling update."""
    arena.signal(arena.one(), signal.SIGTERM)
    yield


def stop(arena: Arena) -> Steps:
    """A worker is frozen until others have its partitions and committed them, and then goes on as if nothing were."""
    name = arena.one()
    yield from _asleep_until_replaced(arena, name, lambda: arena.signal(name, signal.SIGSTOP))


def _asleep_until_replaced(arena: Arena, name: str, fall_asleep: Callable[[], None]) -> Steps:
    before = arena.partitions_of(name)
    fall_asleep()
    try:
        if name.startswith("r") or not before:
            yield from wait(arena.chance.uniform(3, 9))
        else:
            yield from wait_until(
                lambda: not set(before) & set(arena.partitions_of(name)), 60, f"others commit partitions {before}"
            )
    finally:
        arena.signal(name, signal.SIGCONT)


@_alone("Redis")
def flushall(arena: Arena) -> Steps:
    """Redis loses all it has."""
    with _redis(arena) as client:
        client.flushall()
    yield


@_alone("Redis")
def rollback(arena: Arena) -> Steps:
    """Redis comes back as it was when it was last dumped, some faults ago."""
    if not arena.dumps:
        arena.dumps.append(arena.redis.dump())
        yield from wait(4)
    arena.redis.kill()
    yield from wait(arena.chance.uniform(0, 1))
    arena.redis.start(arena.chance.choice(arena.dumps))
    arena.dumps.append(arena.redis.dump())


@_alone("Redis")
def redis_kill(arena: Arena) -> Steps:
    """Redis dies and comes back empty."""
    arena.redis.kill()
    yield from wait(arena.chance.uniform(0, 4))
    arena.redis.start()


@_alone("Redis")
def redis_full(arena: Arena) -> Steps:
    """Redis takes no more writes for a while."""
    with _redis(arena) as client:
        client.config_set("maxmemory", 1 << 20)
        try:
            yield from wait(arena.chance.uniform(1, 6))
        finally:
            client.config_set("maxmemory", 0)


@_alone("Kafka")
def broker_kill(arena: Arena) -> Steps:
    """The broker dies and is started again."""
    arena.kafka.kill()
    yield from wait(arena.chance.uniform(0, 2))
    arena.kafka.start()


@_alone("Kafka")
def broker_freeze(arena: Arena) -> Steps:
    """The broker stands still for longer than a session, at times for longer than a transaction."""
    broker = arena.kafka.pid
    os.kill(broker, signal.SIGSTOP)
    try:
        yield from wait(arena.chance.uniform(1, 8))
    finally:
        os.kill(broker, signal.SIGCONT)


@_alone("Kafka")
def full_disk(arena: Arena) -> Steps:
    """The broker cannot write, gives its folder up and ends; room is made, and it is started again."""
    if arena.disk is None:
        raise Unharmed("full-disk: the servers have no small disk, since it was not asked for alone, or not mounted")
    filler = fill(arena.disk)
    try:
        yield from wait_until(lambda: not answers(arena.kafka.port), 30, "the broker gives up")
    finally:
        filler.unlink()
        arena.kafka.kill()
        arena.kafka.start()


def storm(arena: Arena) -> Steps:
    """Members join and leave, some without a word, faster than the group settles."""
    names = [arena.fresh_name(kind) for kind in ("jstorm", "jstorm", "rstorm", "jstorm")]
    try:
        for name in names:
            worker = arena.start(name)
            deadline = time.monotonic() + 15
            while not worker.ready() and time.monotonic() < deadline:
                yield
            arena.signal(name, arena.chance.choice((signal.SIGTERM, signal.SIGKILL)))
            yield from wait(0.3)
        yield from wait_until(lambda: all(arena.ended(name) for name in names), 40, "who was asked to end does")
    finally:
        for name in names:
            arena.retire(name)


def held_end(arena: Arena) -> Steps:
    """An EndTxn is lost, the client repeats it, and the first copy arrives in the middle of the next transaction, where
    the worker dies."""
    known = len(arena.kafka_proxy.late)
    name = arena.one()
    arena.kafka_proxy.hold_next_end(arena.transactional_id(name), arena.workers[name].process.kill)
    yield from wait_until(lambda: len(arena.kafka_proxy.late) > known, 30, f"{name} meets its own held EndTxn")


def latency(arena: Arena) -> Steps:
    """Everything takes longer."""
    for proxy in (arena.kafka_proxy, arena.redis_proxy):
        proxy.latency_s = arena.chance.uniform(0.01, 0.1)
    yield from wait(arena.chance.uniform(2, 6))
    for proxy in (arena.kafka_proxy, arena.redis_proxy):
        proxy.heal()


def blackhole(arena: Arena) -> Steps:
    """One way nothing arrives, and what was sent comes late."""
    proxy = _either(arena)
    proxy.silence(arena.chance.choice((TO_SERVER, TO_CLIENT)))
    yield from wait(arena.chance.uniform(1, 8))
    proxy.heal()


def reset(arena: Arena) -> Steps:
    """All connections are reset, several times."""
    proxy = _either(arena)
    for _ in range(arena.chance.randrange(1, 4)):
        proxy.reset()
        yield from wait(arena.chance.uniform(0, 0.5))


def cut(arena: Arena) -> Steps:
    """Connections end in the middle of an answer."""
    proxy = _either(arena)
    for _ in range(3):
        proxy.cut_after(arena.chance.randrange(1, 5_000))
        yield from wait(1)


def failpoint(arena: Arena) -> Steps:
    """A worker meets a fault at one step of the protocol, any of them."""
    return at_point(arena, arena.chance.choice(POINTS), arena.chance.choice(ACTIONS))


def at_point(arena: Arena, point: str, action: str) -> Steps:
    """A worker of its own meets this fault; ends when the fault has happened, and a stopped one has gone on."""
    name = arena.fresh_name("jpoint")
    try:
        yield from (_at_end_sent(arena, name, action) if point == END_SENT else _at_named(arena, name, point, action))
    finally:
        arena.retire(name)


def _at_named(arena: Arena, name: str, point: str, action: str) -> Steps:
    # Not at the first batch, whose states cannot be anybody else's yet; restores and revocations are rarer.
    nth = 1 if point.startswith("restore") or point == "in_revoke" else arena.chance.randrange(2, 5)
    worker = arena.start(name, f"{point}:{action}:{nth}")
    key, hit = f"{point}:{action}", worker.log
    mark = f"failpoint {key}\n".encode()

    def met() -> bool:
        return mark in hit.read_bytes()

    if point == "restore_mid":
        # Others may have built the mirror again before this worker has a partition: then it is emptied once more.
        for _ in range(10):
            if not met():
                yield from flushall(arena)
                yield from wait(2)
    if point == "in_revoke":
        yield from wait_until(worker.ready, 60, f"{name} is ready")
        second = arena.fresh_name("jsecond")
        arena.start(second)
        try:
            yield from wait_until(met, 60, f"{name} meets {key}")
        finally:
            arena.retire(second)
    else:
        yield from wait_until(met, 60, f"{name} meets {key}")
    match action:
        case "kill" | "raise":
            yield from wait_until(lambda: worker.process.poll() is not None, 30, f"{name} ends by {key}")
        case "stop":
            yield from wait_until(lambda: arena.sleeping(name), 10, f"{name} sleeps")
            yield from _asleep_until_replaced(arena, name, lambda: None)
            yield from wait(2)
        case _:
            yield from wait(1.5 * TRANSACTION_TIMEOUT_S + 2)


def _at_end_sent(arena: Arena, name: str, action: str) -> Steps:
    worker = arena.start(name)
    yield from wait_until(worker.ready, 60, f"{name} is ready")
    happened: list[None] = []

    def then() -> None:
        happened.append(None)
        if action in ("kill", "stop"):
            worker.process.send_signal(signal.SIGKILL if action == "kill" else signal.SIGSTOP)

    # ``raise``: the answer never comes; ``delay``: long after the transaction's timeout.
    answer_after_s = {"raise": None, "delay": 1.5 * TRANSACTION_TIMEOUT_S}.get(action, 0.0)
    arena.kafka_proxy.at_end_of(arena.transactional_id(name), then, answer_after_s)
    yield from wait_until(lambda: bool(happened), 60, f"{name} ends a transaction")
    arena.failpoints[f"{END_SENT}:{action}"] += 1
    match action:
        case "kill":
            yield from wait_until(lambda: worker.process.poll() is not None, 10, f"{name} ends")
        case "stop":
            yield from _asleep_until_replaced(arena, name, lambda: None)
            yield from wait(2)
        case _:
            yield from wait((answer_after_s or 0) + 2)


def _either(arena: Arena) -> Proxy | Proxies:
    return arena.chance.choice((arena.kafka_proxy, arena.kafka_proxy, arena.redis_proxy))


def _redis(arena: Arena) -> redis.Redis:
    return redis.Redis.from_url(arena.redis.url, socket_timeout=5)


KINDS: dict[str, Fault] = {
    "kill": kill,
    "terminate": terminate,
    "stop": stop,
    "flushall": flushall,
    "rollback": rollback,
    "redis-kill": redis_kill,
    "redis-full": redis_full,
    "broker-kill": broker_kill,
    "broker-freeze": broker_freeze,
    "full-disk": full_disk,
    "storm": storm,
    "held-end": held_end,
    "latency": latency,
    "blackhole": blackhole,
    "reset": reset,
    "cut": cut,
    "failpoint": failpoint,
}


def every_point(actions: Sequence[str]) -> list[tuple[str, str]]:
    """All failpoints with these actions."""
    return [(point, action) for point in POINTS for action in actions]
