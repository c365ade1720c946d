"""The journey role as a pure processor: one class per record, the same output again, no change before ``applied``."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stagepost.engine.definitions import ACTIVATION_KEY
from stagepost.engine.journey_worker import HEARTBEAT, JourneyPartition, JourneyProcessor
from stagepost.engine.plan import Control, PartitionPlan, Record, Topic
from stagepost.events import DAY, HOUR, MICROS, decode_tally_batch, murmur2_partition, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import After, Clicked, EventIs, Exit, Journey, Position, Stage

HERE = Position(1, 1)
START = parse_rfc3339("2026-11-02T00:00:00Z")
PARTITIONS = 4


def contact_in(partition: int) -> str:
    return next(f"c{n}" for n in range(1000) if murmur2_partition(f"c{n}".encode(), PARTITIONS) == partition)


ANN = contact_in(0)
STRANGER = contact_in(1)

JOURNEY = Journey(
    name="welcome",
    title=None,
    version="00000001",
    stages=(
        Stage("subscribed", EventIs("contact.subscribed"), None, "stages.subscribed", HERE),
        Stage("engaged", Clicked(None), None, "stages.engaged", HERE),
    ),
    exits=(Exit("expired", After(10 * DAY), "exits.expired", HERE),),
)


def record(offset: int, at: int, contact: str = ANN, key: bytes | None = None, **fields: Any) -> Record:
    event = {"id": f"e{offset}", "type": "contact.subscribed", "occurred_at": rfc3339(at), "contact": contact, **fields}
    return Record(
        topic=Topic.EVENTS,
        partition=0,
        offset=offset,
        timestamp=at + MICROS,
        key=contact.encode() if key is None else key,
        value=msgspec.json.encode(event),
    )


@pytest.fixture
def processor() -> JourneyProcessor:
    program = compile_program([JOURNEY])
    return JourneyProcessor(program=program, tally_partitions=2, cache_contacts=100, prefix="t.", group="t.g")


def run(
    processor: JourneyProcessor, partition: JourneyPartition, *records: Record, now: int | None = None
) -> PartitionPlan | None:
    next_offset = records[-1].offset + 1 if records else partition.next_offset
    batch = processor.read(partition, records, next_offset, now)
    processor.load(partition, dict.fromkeys(batch.needs))
    return processor.plan(partition, batch)


def commit(
    processor: JourneyProcessor, partition: JourneyPartition, *records: Record, now: int | None = None
) -> PartitionPlan:
    plan = run(processor, partition, *records, now=now)
    assert plan is not None
    processor.applied(partition, plan)
    return plan


def on(plan: PartitionPlan, topic: Topic) -> list[Any]:
    return [msgspec.json.decode(e.value) if e.value else None for e in plan.emits if e.topic == topic]


def test_a_move_gives_a_transition_a_membership_state_and_a_tally_for_every_tally_partition(
    processor: JourneyProcessor,
) -> None:
    plan = commit(processor, processor.open(0, PARTITIONS, None), record(0, START))
    (move,) = on(plan, Topic.TRANSITIONS)
    assert (move["contact"], move["from"], move["to"], move["kind"]) == (ANN, None, "subscribed", "enter")
    (membership,) = on(plan, Topic.CONTACTS)
    assert (membership["stage"], membership["status"]) == ("subscribed", "active")
    assert list(plan.states) == [ANN, ACTIVATION_KEY]
    assert plan.due == {ANN: START + 10 * DAY, ACTIVATION_KEY: None}
    assert [(batch["p"], batch["seq"], batch["clock"]) for batch in on(plan, Topic.TALLIES)] == [(0, 1, START)] * 2
    assert (plan.seq, plan.next_offset, plan.clock) == (1, 1, START)


def test_public_records_say_who_where_and_why_in_their_headers(processor: JourneyProcessor) -> None:
    plan = commit(processor, processor.open(0, PARTITIONS, None), record(0, START))
    (transition,) = (e for e in plan.emits if e.topic == Topic.TRANSITIONS)
    headers = dict(transition.headers)
    assert transition.key == ANN.encode()
    assert headers["ce_type"] == b"dev.stagepost.transition.v1"
    assert headers["ce_source"] == b"urn:stagepost:t:journey"
    assert headers["ce_causationid"] == b"e0"
    assert headers["ce_correlationid"] == f"{ANN}/welcome/1".encode()
    (membership,) = (e for e in plan.emits if e.topic == Topic.CONTACTS)
    assert (membership.key, membership.partition) == (f"welcome/{ANN}".encode(), 0)


def test_planning_changes_nothing_and_planning_again_gives_the_same_plan(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    first = run(processor, partition, record(0, START))
    second = run(processor, partition, record(0, START))
    assert first == second
    assert (partition.seq, partition.clock, partition.next_offset, len(partition.timers)) == (0, 0, 0, 0)


def test_every_record_falls_into_exactly_one_class(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    plan = commit(
        processor,
        partition,
        record(0, START),
        record(1, START, id="e0"),
        record(2, START + HOUR, test=True),
        record(3, START + 40 * HOUR, type="order.completed"),
        record(4, START + HOUR, type="order.completed"),
        record(5, START + 41 * HOUR, contact=STRANGER),
        record(6, START + 41 * HOUR, key=b"other"),
        msgspec.structs.replace(record(7, START), value=b"cut{"),
        record(8, START + 42 * HOUR, type="contact.erased"),
        record(9, START + 43 * HOUR, type="order.completed"),
    )
    counts = plan.counts
    assert counts["events_in_total",] == 10
    assert counts["events_applied_total",] == 3
    assert counts["events_skipped_total", "duplicate"] == 1
    assert counts["events_skipped_total", "test"] == 1
    assert counts["events_skipped_total", "late"] == 1
    assert counts["events_skipped_total", "suppressed"] == 1
    assert counts["events_rerouted_total",] == 2
    assert counts["events_dead_lettered_total", "undecodable"] == 1


def test_a_misplaced_event_goes_on_under_its_contact_and_leaves_no_trace_here(processor: JourneyProcessor) -> None:
    sent = msgspec.structs.replace(record(0, START, contact=STRANGER), headers=(("traceparent", b"00-1"),))
    plan = commit(processor, processor.open(0, PARTITIONS, None), sent)
    (rerouted,) = (e for e in plan.emits if e.topic == Topic.EVENTS)
    assert (rerouted.key, rerouted.value, rerouted.headers) == (STRANGER.encode(), sent.value, sent.headers)
    assert ([key for key in plan.states if key != ACTIVATION_KEY], plan.clock) == ([], 0)


def test_a_timer_fires_before_the_event_that_moves_the_clock_past_it(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    commit(processor, partition, record(0, START))
    later = record(1, START + 11 * DAY, contact=next(c for c in (f"x{n}" for n in range(99)) if _home(c) == 0))
    plan = commit(processor, partition, later)
    moves = on(plan, Topic.TRANSITIONS)
    assert [(m["to"], m["kind"]) for m in moves] == [("expired", "exit"), ("subscribed", "enter")]
    assert moves[0]["timer"] == {"name": "after", "due": rfc3339(START + 10 * DAY)}


def test_an_idle_partition_fires_what_is_due_and_else_only_keeps_its_clock_going(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    commit(processor, partition, record(0, START))
    assert run(processor, partition, now=START + HEARTBEAT - 1) is None
    idle = commit(processor, partition, now=START + HEARTBEAT)
    assert (on(idle, Topic.TRANSITIONS), idle.clock, idle.next_offset) == ([], START + HEARTBEAT, 1)
    assert all(batch["deltas"] == [] for batch in on(idle, Topic.TALLIES))
    (move,) = on(commit(processor, partition, now=START + 10 * DAY), Topic.TRANSITIONS)
    assert (move["to"], move["at"]) == ("expired", rfc3339(START + 10 * DAY))


def test_metrics_of_a_send_are_counted_once_per_contact(processor: JourneyProcessor) -> None:
    send = {"campaign": "n-1", "message": "m1", "provider": "sendgrid"}
    plan = commit(
        processor,
        processor.open(0, PARTITIONS, None),
        record(0, START, type="email.delivered", **send),
        record(1, START + HOUR, type="email.clicked", machine=False, url="https://example.com/a", **send),
        record(2, START + 2 * HOUR, type="email.clicked", machine=False, url="https://example.com/b", **send),
    )
    totals: dict[str, int] = {}
    for emit in plan.emits:
        if emit.topic == Topic.TALLIES:
            for delta in decode_tally_batch(emit.value or b"").deltas:
                totals[delta.metric] = totals.get(delta.metric, 0) + delta.n
    assert {m: totals.get(m, 0) for m in ("delivered", "clicked", "clicked.human", "clicked.unique.human")} == {
        "delivered": 1,
        "clicked": 2,
        "clicked.human": 2,
        "clicked.unique.human": 1,
    }


def test_the_cache_is_bounded_and_keeps_what_was_used_last(processor: JourneyProcessor) -> None:
    small = JourneyProcessor(program=processor.program, tally_partitions=1, cache_contacts=2)
    partition = small.open(0, PARTITIONS, None)
    contacts = [f"k{n}" for n in range(200) if _home(f"k{n}") == 0][:5]
    for n, contact in enumerate(contacts):
        commit(small, partition, record(n, START + n, contact=contact))
    assert list(partition.cache) == contacts[-2:]


def test_a_partition_opens_as_its_control_record_says(processor: JourneyProcessor) -> None:
    control = Control(seq=7, in_off=90, clock=START, n_out=0, n_states=0, definitions={}, codec=1, proto=1, writer="w")
    partition = processor.open(3, PARTITIONS, control)
    assert (partition.number, partition.seq, partition.next_offset, partition.clock) == (3, 7, 90, START)


def _home(contact: str) -> int:
    return murmur2_partition(contact.encode(), PARTITIONS)
