"""Crash and replay around a change of definitions change nothing.

Seeded schedules over the broker and the mirror in memory: workers die, lose the mirror and are replaced by workers with
other journey files, at any step. Whatever happened, the points of change that the state topic records, and they alone,
explain every record: folding the input up to each point, changing there, and going on gives the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import structs
from tests.integration.counting import runner_config
from tests.properties.plays import Play, no_pauses  # noqa: F401

from stagepost.edges.errors import Retry
from stagepost.edges.memory import MemoryBroker, MemoryLog
from stagepost.edges.ports import NoCounters
from stagepost.edges.runner import Runner
from stagepost.engine.definitions import ACTIVATION_KEY, Activation, is_reserved, unpack_activation
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.journey_worker import JourneyProcessor
from stagepost.engine.plan import Emit, Topic
from stagepost.events import HOUR, MICROS, Transition, encode_json, murmur2_partition, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.simulate import Simulation
from stagepost.journey.state import ContactState, unpack

PARTITIONS = 2
TOPICS = {
    Topic.EVENTS: PARTITIONS,
    Topic.STATE: PARTITIONS,
    Topic.TRANSITIONS: 1,
    Topic.CONTACTS: PARTITIONS,
    Topic.TALLIES: 1,
    Topic.EVENTS_DLQ: 1,
}
SCHEDULES = 60

_HEAD = "journey: path\nreenter: always\n"
_TAIL = """
exits:
  - gone: email.complained
recover: {clicked: any}
"""
FILES = (
    # What the first worker has, then what others come with.
    f"""{_HEAD}
stages: [{{joined: contact.subscribed}}, {{reader: {{clicked: any}}}}, {{fan: {{clicked: any, times: 3}}}},
         {{buyer: order.completed}}]
setbacks: [{{cold: {{quiet: 6h}}}}]{_TAIL}""",
    f"""{_HEAD}
stages: [{{joined: contact.subscribed}}, {{fan: {{clicked: any, times: 3}}}}, {{buyer: order.completed}}]
setbacks: [{{cold: {{quiet: 6h}}}}]{_TAIL}""",
    f"""{_HEAD}on_change: finish
stages: [{{joined: contact.subscribed}}, {{viewer: page.seen}}, {{buyer: order.completed}}]
setbacks: [{{stale: {{stuck: 9h}}}}]{_TAIL}""",
    f"""{_HEAD}on_change: reevaluate
stages: [{{joined: {{when: contact.subscribed, stalls_after: 4h}}}}, {{keen: {{clicked: any, times: 3}}}},
         {{reader: {{clicked: any}}}}, {{buyer: order.completed}}]
setbacks: [{{cold: {{quiet: 3h}}}}]
exits:
  - over: {{after: 30h}}
recover: {{clicked: any}}
""",
    f"""{_HEAD}on_change: finish
stages: [{{reader: {{clicked: any}}}}, {{buyer: order.completed}}]
setbacks: [{{cold: {{quiet: 6h}}}}]
exits:
  - over: {{after: 20h}}
recover: {{clicked: any}}
""",
)
OTHER = "journey: second\nstages: [{seen: page.seen}, {bought: order.completed}]\nexits: [{over: {after: 12h}}]\n"


def read(text: str) -> Journey:
    parsed = parse_journey(text, "path.yaml")
    assert parsed.journey is not None, parsed.problems
    return parsed.journey


PATHS = [read(text) for text in FILES]
SECOND = read(OTHER)
DEPLOYMENTS = [[PATHS[0]], *([path, SECOND] for path in PATHS[1:]), [PATHS[0], SECOND], [SECOND]]
BY_VERSION = {(j.name, j.version): j for j in (*PATHS, SECOND)}


class ChangePlay(Play):
    """Workers of a journey, each new one with any of the deployments."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, TOPICS)
        self.mirror.piece = self.random.choice([1, 1, 500])  # mostly many batches for a change, and events between
        self.deployed = 0

    def start(self, name: str) -> None:
        if self.sent and self.random.random() < 0.9:
            self.deployed = self.random.randrange(len(DEPLOYMENTS))
        program = compile_program(DEPLOYMENTS[self.deployed])
        processor = JourneyProcessor(program=program, tally_partitions=1, cache_contacts=self.random.choice([2, 50]))
        log = MemoryLog(self.broker, "group", f"id.{name}", Topic.EVENTS)
        config = runner_config("", name, batch=self.random.choice([1, 5, 40]), idle_after_s=3600.0)
        runner = Runner(config, processor, log, self.mirror, NoCounters(), self.failpoint)
        try:
            runner.open()
        except Retry:
            return
        self.workers[name] = runner
        self.intakes[name] = runner._intake

    def send(self) -> None:
        for _ in range(self.random.randint(1, 12)):
            number, contact = len(self.sent), f"c{self.random.randrange(12)}"
            kinds = ["contact.subscribed"] * 3 + ["email.clicked"] * 6 + ["page.seen", "order.completed"]
            kind = self.random.choice(
                [*kinds, "email.complained", "contact.erased" if number % 40 == 0 else "page.seen"]
            )
            self.broker.now += self.random.choice([0, MICROS, HOUR // 2, HOUR])
            back = self.random.choice([0, 0, 0, HOUR])
            event = {
                "id": f"e{number}",
                "type": kind,
                "occurred_at": rfc3339(self.broker.now - back),
                "contact": contact,
                "machine": False,
                "url": "https://example.com/",
            }
            partition = murmur2_partition(contact.encode(), PARTITIONS)
            value = msgspec.json.encode(event)
            self.broker.publish(Emit(Topic.EVENTS, contact.encode(), value, partition=partition))
            self.sent.append((contact, f"e{number}"))

    def unfinished(self) -> str:
        for partition in range(PARTITIONS):
            worker = self.workers["c"]
            owned = worker._running.get(partition)
            if owned is None or owned.next_offset < len(self.broker.committed_records(Topic.EVENTS, partition)):
                return f"partition {partition} at {owned}"
            if worker._work is None or worker._work.pending(owned) or owned.applied_seq < owned.seq:
                return f"partition {partition} is changing: {owned.state}"
        return ""

    def check(self) -> None:
        made: dict[str, list[Transition]] = defaultdict(list)
        for record in self.broker.committed_records(Topic.TRANSITIONS, 0):
            move = msgspec.json.decode(record.value or b"", type=Transition)
            made[move.contact].append(move)
        expected: dict[str, list[Transition]] = defaultdict(list)
        for partition in range(PARTITIONS):
            points = list(points_of(self.broker, partition))
            moves, states = explained(self.broker, partition, points)
            for move in moves:
                expected[move.contact].append(msgspec.json.decode(encode_json(move), type=Transition))
            stored = {
                key: unpack(value) for key, value in self.mirror.states(partition).items() if not is_reserved(key)
            }
            assert {c: structs.replace(s, epoch=0) for c, s in stored.items()} == states
            self.happened["changes"] += max(0, len(points) - 1)
            self.happened["runs that finish"] += any(point.stays for point in points)
        for contact in made.keys() | expected.keys():
            assert made[contact] == expected[contact]
        assert len({move.id for moves in made.values() for move in moves}) == sum(map(len, made.values()))
        self.happened.update(move.kind for moves in made.values() for move in moves)


def points_of(broker: MemoryBroker, partition: int) -> Iterator[Activation]:
    """Where the definitions of a partition changed, as its log says; the newest record of each change."""
    points: dict[int, Activation] = {}
    for record in broker.committed_records(Topic.STATE, partition):
        if record.key == ACTIVATION_KEY.encode():
            activation = unpack_activation(record.value or b"")
            kept = points.get(activation.seq)
            points[activation.seq] = activation if kept is None or not kept.stays else kept
    yield from points.values()


def explained(
    broker: MemoryBroker, partition: int, points: list[Activation]
) -> tuple[list[Transition], dict[str, ContactState]]:
    """The records and states that the input gives with the definitions changed at ``points``."""
    moves: list[Transition] = []
    simulation = Simulation(compile_program([]))
    records = broker.committed_records(Topic.EVENTS, partition)
    ends = [point.in_off for point in points[1:]] + [len(records)]
    for number, point in enumerate(points):
        journeys = [BY_VERSION[version] for version in point.versions.items()]
        if number:
            assert simulation.clock == point.clock
            moves += simulation.change(journeys)
        else:
            simulation.program = compile_program(journeys)
        fold = simulation._fold()
        for record in records[point.in_off : ends[number]]:
            read = read_event(record.value, broker_time=record.timestamp)
            assert isinstance(read, Incoming)
            moves += [move for _, step in fold.event(read.event, read.at) for move in step.moves]
        simulation._keep(fold)
    states = {c: structs.replace(s, epoch=0) for c, s in simulation.states.items() if s is not None}
    return moves, states


@pytest.mark.usefixtures("no_pauses")
def test_a_change_at_any_point_of_any_schedule_of_faults_is_explained_by_its_record() -> None:
    happened: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        play = ChangePlay(seed)
        try:
            for _ in range(120):
                play.step()
            play.finish()
            play.check()
        except BaseException as error:
            raise AssertionError(f"schedule {seed}, after {dict(play.happened)}") from error
        happened += play.happened
    assert {"migrate", "stall", "setback", "recover", "exit", "reenter"} <= set(happened)
    assert (happened["changes"] > SCHEDULES // 2, happened["runs that finish"] > 5, happened["flushed"] > 5) == (
        True,
    ) * 3
