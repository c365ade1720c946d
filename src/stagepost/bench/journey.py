"""``stagepost bench journey``: the role from end to end on a real broker, beside its floor and other tools.

Every job reads the same preloaded events, in rounds A B C, A B C. CPU is of the measured processes with all their
threads, from the first commit behind the warm-up to the last one. Transitions are counted afterwards and compared with
what has to come out.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stagepost.bench import stream
from stagepost.bench.expected import AFTER, SPAN_S, JourneyMoves, RuleMoves
from stagepost.bench.measure import Figure, machine, ratio
from stagepost.bench.peers.install import PEERS, Peer, Unavailable
from stagepost.bench.rig import PARTITIONS, PREFIX, JobFailed, Measured, Progress, Rig, Started
from stagepost.edges.local_kafka import KAFKA_VERSION
from stagepost.edges.processes import role_command
from stagepost.engine.plan import Topic
from stagepost.events import encode_json

FLOOR, JOURNEY, WITH_REDIS, TWO = "consume-decode", "journey", "journey-redis", "journey-two"

TITLES = {
    FLOOR: "consume + decode (msgspec)",
    JOURNEY: "journey, without the mirror",
    WITH_REDIS: "journey, with Redis",
    TWO: "journey, two processes",
    **{peer.name: peer.title for peer in PEERS},
}

CAVEAT = (
    "peers: the same events, a simpler rule (no timers, setbacks, consent, credit); one sensible setup each, made by "
    "us: an expert would close a part of the gap"
)


@dataclass(frozen=True)
class Load:
    """A preloaded topic and what has to come out of it."""

    topic: str
    events: int
    moves: int
    """Transitions of the journey on the whole topic; of the peers' rule on a peers' topic."""


@dataclass(frozen=True)
class Row:
    """One job over all rounds."""

    figure: Figure
    peak_bytes: tuple[int, ...]
    transitions: tuple[int, ...]
    """Seen in each round; empty for the floor, which makes none."""
    expected: int

    @property
    def complete(self) -> bool:
        return all(seen == self.expected for seen in self.transitions)


@dataclass(frozen=True)
class JourneyReport:
    """What was measured, by name of the job; ``skipped``: peers and why they were left out."""

    rows: dict[str, Row]
    skipped: dict[str, str]
    events: int
    contacts: int
    event_bytes: float
    load: tuple[float, float]
    """Of the machine in the last minute, before and after."""
    cores_apart: bool
    redis: str

    def ratios(self) -> dict[str, float]:
        """CPU per event, pair by pair in the rounds: of each job to ``journey``, and of that to the floor."""
        rows = self.rows
        found = {
            name: ratio(row.figure, rows[JOURNEY].figure) for name, row in rows.items() if name not in (FLOOR, JOURNEY)
        }
        return {**found, JOURNEY: ratio(rows[JOURNEY].figure, rows[FLOOR].figure)}

    def two_to_one(self) -> float:
        """Events per second of two processes to those of one, by the clock on the wall."""
        pairs = zip(self.rows[JOURNEY].figure.wall_us, self.rows[TWO].figure.wall_us, strict=True)
        return statistics.median(one / two for one, two in pairs)

    @property
    def complete(self) -> bool:
        """Whether every job made the transitions that it had to."""
        return all(row.complete for row in self.rows.values())

    def as_json(self) -> dict[str, Any]:
        ratios = self.ratios()
        return {
            "bench": "journey",
            "machine": machine(),
            "kafka": KAFKA_VERSION,
            "redis": self.redis,
            "load_1m": list(self.load),
            "cores_apart": self.cores_apart,
            "partitions": PARTITIONS,
            "events": self.events,
            "contacts": self.contacts,
            "event_bytes": round(self.event_bytes),
            "jobs": {
                name: {
                    **row.figure.as_json(),
                    "peak_mb": round(max(row.peak_bytes) / 1e6),
                    "transitions": list(row.transitions),
                    "expected": row.expected,
                    **({"ratio_to_journey": round(ratios[name], 3)} if name in ratios and name != JOURNEY else {}),
                    **({"ratio_to_floor": round(ratios[name], 3)} if name == JOURNEY else {}),
                }
                for name, row in self.rows.items()
            },
            "two_to_one_events_s": round(self.two_to_one(), 3),
            "skipped": self.skipped,
            "caveat": CAVEAT,
        }


@dataclass(frozen=True)
class _Job:
    """``run`` does a round: what it took, and the transitions that it made (None: none to make)."""

    name: str
    events: int
    expected: int
    run: Callable[[Callable[[int, int], None]], tuple[Measured, int | None]]


def bench_journey(
    count: int,
    contacts: int,
    rounds: int,
    seed: int,
    peers: Sequence[Peer],
    kafka: str | None = None,
    redis_url: str | None = None,
    progress: Progress = lambda what, done, of: None,
) -> JourneyReport:
    """Everything once per round. Raises JobFailed of our own jobs; a peer that fails is left out from then on.

    Interrupted (Ctrl-C), it reports the rounds that are whole.
    """
    before = os.getloadavg()[0]
    with Rig(kafka, redis_url) as rig:
        skipped: dict[str, str] = {}
        commands: list[tuple[Peer, Sequence[str]]] = []
        for peer in peers:
            progress(f"installing {peer.name}", 0, 1)
            try:
                commands.append((peer, peer.command(rig.group.subfolder(peer.name))))
            except Unavailable as error:
                skipped[peer.name] = str(error)
        loads, size = _preload(rig, count, contacts, seed, [peer for peer, _ in commands], progress)
        jobs = [*_own_jobs(rig, loads[JOURNEY]), *(_peer_job(rig, peer, argv, loads) for peer, argv in commands)]
        found: dict[str, list[tuple[Measured, int | None]]] = {job.name: [] for job in jobs}
        try:
            for number in range(rounds):
                _round(
                    jobs,
                    f"round {number + 1} of {rounds}",
                    {peer.name for peer, _ in commands},
                    found,
                    skipped,
                    progress,
                )
        except KeyboardInterrupt:
            whole = min(len(results) for name, results in found.items() if name not in skipped)
            if not whole:
                raise
            found = {name: results[:whole] for name, results in found.items()}
        rows = {job.name: _row(job, found[job.name]) for job in jobs if job.name not in skipped}
        after = os.getloadavg()[0]
        pinned = rig.cores.apart and kafka is None
        return JourneyReport(rows, skipped, count, contacts, size, (before, after), pinned, rig.redis_version())


def _round(
    jobs: Sequence[_Job],
    which: str,
    peers: Collection[str],
    found: Mapping[str, list[tuple[Measured, int | None]]],
    skipped: dict[str, str],
    progress: Progress,
) -> None:
    """Each job once, in turn; what it took is added to ``found``, a peer that failed to ``skipped``."""
    for job in jobs:
        if job.name in skipped:
            continue
        what = f"{which}, {job.name}"
        try:
            found[job.name].append(job.run(lambda done, of, what=what: progress(what, done, of)))  # type: ignore[misc]
        except JobFailed as error:
            if job.name not in peers:
                raise
            skipped[job.name] = str(error)


def _row(job: _Job, results: Sequence[tuple[Measured, int | None]]) -> Row:
    taken = [measured.taken for measured, _ in results]
    figure = Figure(job.name, job.events, tuple(t.cpu_us for t in taken), tuple(t.wall_us for t in taken))
    transitions = tuple(made for _, made in results if made is not None)
    return Row(figure, tuple(measured.peak_bytes for measured, _ in results), transitions, job.expected)


def _preload(
    rig: Rig, count: int, contacts: int, seed: int, peers: Sequence[Peer], progress: Progress
) -> tuple[dict[str, Load], float]:
    """One stream into the product's topic and, cut to their share, into those of the peers."""
    rig.fresh_installation()
    ours = rig.names.full(Topic.EVENTS)
    shares = {peer.name: max(1, round(count * peer.share)) for peer in peers}
    topics = {events: f"{PREFIX}events-{events}" for events in sorted(set(shares.values()))}
    rig.make_topics(topics.values())
    journey, rule = JourneyMoves(PARTITIONS, AFTER), RuleMoves()
    moves: dict[int, int] = {}
    size = 0
    producer = rig.producer()
    for number, event in enumerate(stream.flow(count, contacts, seed, SPAN_S / count), 1):
        key, value = event.contact.encode(), encode_json(event)
        size += len(value)
        journey.add(key, value)
        rule.add(value)
        _send(producer, ours, key, value)
        for events, topic in topics.items():
            if number <= events:
                _send(producer, topic, key, value)
        if number in topics:
            moves[number] = rule.transitions
        if number % 2_000 == 0:
            progress("preloading", number, count)
    if producer.flush(60):
        raise JobFailed("the broker did not take the events")
    loads = {name: Load(topics[events], events, moves[events]) for name, events in shares.items()}
    return {JOURNEY: Load(ours, count, journey.finish()), **loads}, size / count


def _send(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.05)


def _own_jobs(rig: Rig, load: Load) -> Iterator[_Job]:
    folder = rig.group.subfolder("journeys")
    Path(folder, "bench.yaml").write_text(stream.WHOLE)
    environment = rig.installation(str(folder))
    without = Started((sys.executable, "-m", "stagepost.bench.worker"), environment)
    with_redis = Started(role_command("journey", "--port", "0", "--json"), environment)
    group, out = rig.names.group("journey"), rig.names.full(Topic.TRANSITIONS)
    rounds = iter(range(1_000_000))

    def floor(progress: Callable[[int, int], None]) -> tuple[Measured, None]:
        name = f"{PREFIX}floor-{next(rounds)}"
        argv = (sys.executable, "-m", "stagepost.bench.floor", rig.bootstrap, load.topic, name)
        done = lambda: rig.committed(name, load.topic)  # noqa: E731
        return rig.measured(FLOOR, [Started(argv, {})], rig.cores.worker, done, load.events, progress), None

    def journey(name: str, processes: Sequence[Started], cores: frozenset[int]) -> _Job:
        def run(progress: Callable[[int, int], None]) -> tuple[Measured, int]:
            rig.fresh_installation(keep=(Topic.EVENTS,))
            done = lambda: rig.committed(group, load.topic)  # noqa: E731
            measured = rig.measured(name, processes, cores, done, load.events, progress)
            return measured, rig.count(out)

        return _Job(name, load.events, load.moves, run)

    yield _Job(FLOOR, load.events, 0, floor)
    yield journey(JOURNEY, [without], rig.cores.worker)
    yield journey(WITH_REDIS, [with_redis], rig.cores.worker)
    yield journey(TWO, [without, without], rig.cores.both)


def _peer_job(rig: Rig, peer: Peer, argv: Sequence[str], loads: dict[str, Load]) -> _Job:
    load = loads[peer.name]
    rounds = iter(range(1_000_000))

    def run(progress: Callable[[int, int], None]) -> tuple[Measured, int]:
        name = f"{PREFIX}{peer.name}-{next(rounds)}"
        with _peer_topics(rig, name) as out:
            started = Started((*argv, rig.bootstrap, load.topic, name, rig.redis_url), {})
            done = lambda: rig.committed(name, load.topic)  # noqa: E731
            measured = rig.measured(peer.name, [started], rig.cores.worker, done, load.events, progress)
            return measured, rig.count(out)

    return _Job(peer.name, load.events, load.moves, run)


@contextmanager
def _peer_topics(rig: Rig, name: str) -> Iterator[str]:
    """The outputs of a peer, and in the end nothing of what it made; yields where its transitions go."""
    out = f"{name}.transitions"
    rig.make_topics([out, f"{name}.tallies"])
    try:
        yield out
    finally:
        rig.remove_topics(lambda topic: name in topic)
        rig.empty_redis()
