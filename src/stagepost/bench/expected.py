"""What has to come out of a preloaded topic, computed beside it, so that nobody is measured doing less.

Two counts of transitions: of the whole journey by the pure processor, and of the peers' rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stagepost.bench import stream
from stagepost.bench.peers import rule
from stagepost.engine.journey_worker import JourneyPartition, JourneyProcessor
from stagepost.engine.plan import Record, Topic
from stagepost.events import DAY, murmur2_partition
from stagepost.journey.compile import compile_program

_PIECE = 500
"""Records of a partition in one Plan; by the laws of batches any number gives the same moves."""


@dataclass
class JourneyMoves:
    """Counts transitions of ``stream.whole_journey`` over a topic of ``partitions``, records in their order."""

    partitions: int
    until: int
    """A time after every event, micros: broker timestamps come later than what happened."""
    transitions: int = 0
    _partitions: dict[int, JourneyPartition] = field(default_factory=dict)
    _waiting: dict[int, list[Record]] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = compile_program([stream.whole_journey()])
        self._processor = JourneyProcessor(program=program, tally_partitions=1, cache_contacts=1 << 62)

    def add(self, key: bytes, value: bytes) -> None:
        number = murmur2_partition(key, self.partitions)
        offset = self._offsets.get(number, 0)
        self._offsets[number] = offset + 1
        waiting = self._waiting.setdefault(number, [])
        waiting.append(Record(Topic.EVENTS, number, offset, self.until, key, value))
        if len(waiting) >= _PIECE:
            self._carry_out(number)

    def finish(self) -> int:
        for number in self._waiting:
            self._carry_out(number)
        return self.transitions

    def _carry_out(self, number: int) -> None:
        records, self._waiting[number] = self._waiting[number], []
        if not records:
            return
        processor = self._processor
        partition = self._partitions.get(number)
        if partition is None:
            partition = self._partitions[number] = processor.open(number, self.partitions, None)
            processor.load(partition, dict.fromkeys(processor.wants(partition)))
        while records:
            batch = processor.read(partition, records, records[-1].offset + 1, None)
            processor.load(partition, dict.fromkeys(batch.needs))
            plan = processor.plan(partition, batch)
            assert plan is not None
            processor.applied(partition, plan)
            records = [record for record in records if record.offset >= plan.next_offset]
            self.transitions += sum(emit.topic is Topic.TRANSITIONS for emit in plan.emits)


@dataclass
class RuleMoves:
    """Counts transitions of the peers' rule."""

    transitions: int = 0
    _standings: dict[str, rule.Standing] = field(default_factory=dict)

    def add(self, value: bytes) -> None:
        event = rule.decode(value)
        result = rule.advance(self._standings.get(event.contact, rule.Standing()), event)
        if result is not None:
            self._standings[event.contact], transition = result
            self.transitions += transition is not None


SPAN_S = 20 * DAY / 1_000_000
"""Event time that a stream spans: long enough for every timer of the journey."""

AFTER = stream.START + 21 * DAY
