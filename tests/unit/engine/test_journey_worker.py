"""The journey role as a pure processor: one class per record, the same output again, no change before ``applied``."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stagepost.engine import journey_worker as worker
from stagepost.engine.attempts import deadly
from stagepost.engine.definitions import ACTIVATION_KEY, Activation, pack_activation, unpack_activation
from stagepost.engine.journey_worker import HEARTBEAT, MARKER_LIMIT, JourneyPartition, JourneyProcessor
from stagepost.engine.plan import Control, Listing, PartitionPlan, Record, Topic
from stagepost.engine.story import unpack_told
from stagepost.events import DAY, HOUR, MICROS, decode_tally_batch, murmur2_partition, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import After, Clicked, EventIs, Exit, Journey, Position, Stage
from stagepost.journey.parse import parse_journey
from stagepost.journey.state import ContactState, pack

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


def test_a_contact_known_here_still_needs_its_own_key(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    commit(processor, partition, record(0, START))
    plan = commit(processor, partition, record(1, START, key=STRANGER.encode()))

    assert [ANN.encode()] == [emit.key for emit in plan.emits if emit.topic == Topic.EVENTS]


def test_a_misplaced_event_goes_on_under_its_contact_and_leaves_no_trace_here(processor: JourneyProcessor) -> None:
    sent = msgspec.structs.replace(record(0, START, contact=STRANGER), headers=(("traceparent", b"00-1"),))
    plan = commit(processor, processor.open(0, PARTITIONS, None), sent)
    (rerouted,) = (e for e in plan.emits if e.topic == Topic.EVENTS)
    assert (rerouted.key, rerouted.value, rerouted.headers) == (STRANGER.encode(), sent.value, sent.headers)
    assert ([key for key in plan.states if key != ACTIVATION_KEY], plan.clock) == ([], 0)


def test_a_misplaced_event_that_is_too_large_to_move_on_is_a_dead_letter(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    large = msgspec.structs.replace(record(0, START, STRANGER), headers=(("odd", bytes(10 << 20)),))
    plan = commit(processor, partition, large)
    assert [(Topic.EVENTS_DLQ, b"oversize")] == [
        (emit.topic, dict(emit.headers)["stagepost-reason"]) for emit in plan.emits if emit.topic != Topic.TALLIES
    ]


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
    late = commit(processor, partition, now=START + 10 * DAY + 7 * MICROS)
    (move,) = on(late, Topic.TRANSITIONS)
    assert (move["to"], move["at"]) == ("expired", rfc3339(START + 10 * DAY))
    assert ({"timer_delay_seconds": [7.0]}, []) == (late.delays, late.caused_at)


def test_moves_by_events_tell_when_their_event_was(processor: JourneyProcessor) -> None:
    plan = commit(
        processor,
        processor.open(0, PARTITIONS, None),
        record(0, START),
        record(1, START + HOUR, type="page.seen"),
        record(2, START + 2 * HOUR, type="email.clicked", machine=False, url="https://example.com/"),
    )
    assert ({}, [START, START + 2 * HOUR]) == (plan.delays, plan.caused_at)


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


def test_no_name_that_an_event_brings_along_makes_a_tally_batch_unreadable(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    odd = [
        {"campaign": "a\x00b", "message": "m1", "provider": "sendgrid"},
        {"campaign": "n" * 257, "message": "m2", "provider": "sendgrid"},
        {"campaign": "n-1", "message": "m3", "provider": "p" * 10_000},
        {"campaign": "n-1", "message": "m\x00", "provider": "\x00"},
    ]
    plan = commit(
        processor, partition, *(record(n, START + n, type="email.delivered", **fields) for n, fields in enumerate(odd))
    )
    counted = [
        (delta.scope_id, delta.metric, delta.n)
        for emit in plan.emits
        if emit.topic == Topic.TALLIES
        for delta in decode_tally_batch(emit.value or b"").deltas
    ]
    assert [("n-1", "delivered", 2), ("n-1", "provider.other", 2)] == counted


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


# Changed definitions


class Stored:
    """A partition whose states outlive the worker."""

    def __init__(self, *files: str) -> None:
        self.values: dict[str, bytes] = {}
        self.control: Control | None = None
        self.plans: list[PartitionPlan] = []
        self.offset = 0
        self.restart(*files)

    def restart(self, *files: str) -> None:
        journeys = [parse_journey(text, "welcome.yaml").journey for text in files]
        program = compile_program([journey for journey in journeys if journey is not None])
        self.processor = JourneyProcessor(program=program, tally_partitions=1, cache_contacts=100)
        self.partition = self.processor.open(0, PARTITIONS, self.control)

    def batch(self, *records: Record, enough: int | None = 1) -> PartitionPlan | None:
        """One turn; ``enough`` contacts are listed for a change, one in a slot. None: no listing is to be had."""
        processor, partition = self.processor, self.partition
        while wanted := processor.wants(partition):
            processor.load(partition, {key: self.values.get(key) for key in wanted})
        contacts = sorted(key for key in self.values if not key.startswith("\x00"))
        sweep = processor.sweep(partition, slots=100)
        next_offset = records[-1].offset + 1 if records else partition.next_offset
        batch = processor.read(partition, records, next_offset, None)
        if processor.unknown(partition, batch) is not None:
            due = {key: at for key, value in self.values.items() if (at := processor.due(value)) is not None}
            batch = processor.learn(partition, batch, due, None)
        if sweep is not None and enough is not None:
            end = sweep.slot + enough
            keys = tuple(contacts[sweep.slot : end])
            batch = processor.swept(partition, batch, Listing(keys, end if end < len(contacts) else None, 100))
        processor.load(partition, {key: self.values.get(key) for key in batch.needs})
        plan = processor.plan(partition, batch)
        if plan is None:
            return None
        processor.applied(partition, plan)
        for key, value in plan.states.items():
            self.values.pop(key, None)
            if value is not None:
                self.values[key] = value
        self.control = Control(
            seq=plan.seq,
            in_off=plan.next_offset,
            clock=plan.clock,
            n_out=0,
            n_states=0,
            definitions=dict(plan.definitions),
            codec=2,
            proto=1,
            writer="w",
        )
        self.plans.append(plan)
        return plan

    def happen(self, at: int, contact: str = ANN, **fields: Any) -> PartitionPlan:
        plan = self.batch(record(self.offset, at, contact, **fields), enough=None)
        self.offset += 1
        assert plan is not None
        return plan

    def settle(self) -> list[Any]:
        """Turn until nothing is to be done without records; what was moved."""
        moves: list[Any] = []
        while self.processor.pending(self.partition):
            plan = self.batch()
            moves += on(plan, Topic.TRANSITIONS) if plan is not None else []
        return moves

    def definitions(self) -> list[str]:
        return [key.rpartition(" ")[2] for key in sorted(self.values) if key.startswith("\x00definition ")]


HEAD = "journey: welcome\nstages: [{subscribed: contact.subscribed}, "
FIRST = HEAD + "{engaged: {clicked: any}}, {buyer: order.completed}]\n"
SHORT = HEAD + "{buyer: order.completed}]\n"
FINISH = SHORT + "on_change: finish\n"
BOB, CAROL = [c for c in (f"x{n}" for n in range(99)) if murmur2_partition(c.encode(), PARTITIONS) == 0][:2]


def version(text: str) -> str:
    journey = parse_journey(text, "").journey
    assert journey is not None
    return journey.version


def engaged(*contacts: str) -> Stored:
    stored = Stored(FIRST)
    for contact in contacts:
        stored.happen(START, contact)
        stored.happen(START + HOUR, contact, type="email.clicked", machine=False)
    return stored


def test_the_first_batch_records_the_definitions_and_keeps_their_text() -> None:
    stored = engaged(ANN)
    assert unpack_activation(stored.values[ACTIVATION_KEY]) == Activation(
        seq=1, in_off=0, clock=0, versions={"welcome": version(FIRST)}
    )
    assert stored.definitions() == [version(FIRST)]
    assert [key for key in stored.plans[1].states if key.startswith("\x00")] == []


def test_a_worker_with_the_same_files_changes_nothing() -> None:
    stored = engaged(ANN)
    stored.restart(FIRST)
    assert stored.batch() is None
    assert not stored.processor.pending(stored.partition)


def test_a_change_is_recorded_in_the_batch_that_begins_it_and_brings_everybody_up_piece_by_piece() -> None:
    stored = engaged(ANN, BOB, CAROL)
    stored.restart(SHORT)
    moves = stored.settle()
    assert [(m["contact"], m["from"], m["to"], m["kind"]) for m in moves] == [
        (contact, "engaged", "subscribed", "migrate") for contact in sorted((ANN, BOB, CAROL))
    ]
    assert {m["at"] for m in moves} == {rfc3339(START + HOUR)}
    activation = unpack_activation(stored.values[ACTIVATION_KEY])
    assert (activation.seq, activation.in_off, activation.clock) == (7, 6, START + HOUR)
    assert (activation.versions, activation.slot) == ({"welcome": version(SHORT)}, None)
    assert stored.definitions() == [version(SHORT)]


def test_whom_an_event_touches_first_is_brought_up_first() -> None:
    stored = engaged(ANN)
    stored.restart(SHORT)
    plan = stored.happen(START + 2 * HOUR, type="order.completed")
    assert [(m["from"], m["to"], m["kind"]) for m in on(plan, Topic.TRANSITIONS)] == [
        ("engaged", "subscribed", "migrate"),
        ("subscribed", "buyer", "advance"),
    ]
    assert stored.settle() == []


def test_a_change_that_was_begun_is_finished_by_an_owner_with_other_files_before_the_next_begins() -> None:
    stored = engaged(ANN, BOB, CAROL)
    stored.restart(SHORT)
    stored.batch()
    assert sorted(stored.definitions()) == sorted([version(FIRST), version(SHORT)])
    stored.restart(FIRST)
    moves = stored.settle()
    assert [(m["to"], m["kind"], m["version"]) for m in moves] == [("subscribed", "migrate", version(SHORT))] * 2
    assert unpack_activation(stored.values[ACTIVATION_KEY]).versions == {"welcome": version(FIRST)}


def test_runs_that_finish_are_counted_and_their_version_goes_with_the_last_of_them() -> None:
    leaving = "exits: [{gone: email.complained}]\n"
    stored = Stored(FIRST + leaving)
    for contact in (ANN, BOB):
        stored.happen(START, contact)
    old = version(FIRST + leaving)
    stored.restart(FINISH)
    assert stored.settle() == []
    assert unpack_activation(stored.values[ACTIVATION_KEY]).stays == {"welcome": {old: 2}}
    stored.restart(FINISH)
    clicked = stored.happen(START + HOUR, ANN, type="email.clicked", machine=False)
    assert [(m["to"], m["version"]) for m in on(clicked, Topic.TRANSITIONS)] == [("engaged", old)]
    stored.happen(START + 2 * HOUR, ANN, type="email.complained")
    assert unpack_activation(stored.values[ACTIVATION_KEY]).stays == {"welcome": {old: 1}}
    left = stored.happen(START + 3 * HOUR, BOB, type="email.complained")
    assert (left.states[f"\x00definition welcome {old}"], stored.definitions()) == (None, [version(FINISH)])
    assert unpack_activation(stored.values[ACTIVATION_KEY]).stays == {}


def test_a_partition_from_before_changes_were_recorded_is_brought_up_by_name() -> None:
    stored = engaged(ANN)
    for key in [key for key in stored.values if key.startswith("\x00")]:
        del stored.values[key]
    stored.restart(SHORT)
    (move,) = stored.settle()
    assert (move["from"], move["to"], move["kind"]) == ("engaged", "subscribed", "migrate")


def test_moves_are_told_and_an_erased_contact_is_forgotten() -> None:
    stored = Stored(FIRST)
    plan = stored.happen(START)
    ((contact, packed),) = plan.told
    told = unpack_told(packed)
    assert told is not None
    assert (contact, told.to, told.move, told.cause) == (ANN, "subscribed", 1, ("e0", "contact.subscribed", None, None))
    assert stored.happen(START + HOUR, type="contact.erased").told == [(ANN, b"")]


def letters(plan: PartitionPlan) -> list[tuple[bytes, bytes]]:
    """Reason and detail of each dead letter."""
    told = [dict(emit.headers) for emit in plan.emits if emit.topic == Topic.EVENTS_DLQ]
    return [(headers["stagepost-reason"], headers["stagepost-detail"]) for headers in told]


def neighbour(n: int) -> str:
    found = [f"c{n}" for n in range(1000) if murmur2_partition(f"c{n}".encode(), PARTITIONS) == 0]
    return found[n]


BOB, CYD = neighbour(1), neighbour(2)


def test_a_record_whose_reading_fails_is_a_dead_letter_and_its_neighbours_are_applied(
    processor: JourneyProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.read_event

    def failing(value: bytes | None, **rest: Any) -> Any:
        if BOB.encode() in (value or b""):
            raise ZeroDivisionError("a fault of ours")
        return real(value, **rest)

    monkeypatch.setattr(worker, "read_event", failing)
    records = [record(n, START, contact=contact) for n, contact in enumerate((ANN, BOB, CYD))]
    plan = commit(processor, processor.open(0, PARTITIONS, None), *records)
    assert letters(plan) == [(b"rule-error", b"ZeroDivisionError while the event was read")]
    assert [move["contact"] for move in on(plan, Topic.TRANSITIONS)] == [ANN, CYD]


def test_a_record_whose_moves_cannot_be_written_leaves_nothing_but_a_dead_letter(
    processor: JourneyProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.told_of

    def failing(move: Any) -> Any:
        if move.contact == BOB:
            raise ZeroDivisionError("a fault of ours")
        return real(move)

    monkeypatch.setattr(worker, "told_of", failing)
    records = [record(n, START, contact=contact) for n, contact in enumerate((ANN, BOB, CYD))]
    plan = commit(processor, processor.open(0, PARTITIONS, None), *records)
    assert letters(plan) == [(b"rule-error", b"ZeroDivisionError while its moves were written")]
    assert [move["contact"] for move in on(plan, Topic.TRANSITIONS)] == [ANN, CYD]
    assert (BOB in plan.states, plan.counts["events_in_total",], plan.counts["events_applied_total",]) == (False, 3, 2)


def test_the_event_that_would_make_a_state_too_large_is_a_dead_letter_and_all_others_count(
    processor: JourneyProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record(0, START)
    small = commit(processor, processor.open(0, PARTITIONS, None), first).states[ANN]
    assert small is not None
    monkeypatch.setattr(worker, "STATE_LIMIT", len(small) + 40)
    deliver: dict[str, Any] = {"type": "email.delivered", "campaign": "k" * 30}
    records = [
        first,
        record(1, START + HOUR, contact=BOB),
        record(2, START + 2 * HOUR, message="large" * 9, **deliver),
        record(3, START + 3 * HOUR, type="order.completed"),
        record(4, START + 4 * HOUR, contact=BOB, type="order.completed"),
    ]
    partition = processor.open(0, PARTITIONS, None)
    plan = commit(processor, partition, *records)
    ((reason, detail),) = letters(plan)
    assert (reason, detail.startswith(b"with it the state would have")) == (b"oversize", True)
    (letter,) = (emit for emit in plan.emits if emit.topic == Topic.EVENTS_DLQ)
    assert letter.value == records[2].value
    assert plan.counts["events_applied_total",] == 4
    assert all(
        len(value) <= worker.STATE_LIMIT for key, value in plan.states.items() if value and key != ACTIVATION_KEY
    )


def test_no_record_of_a_move_can_be_larger_than_its_topic_takes(processor: JourneyProcessor) -> None:
    wide = {"campaign": "\U0001f600" * 64, "message": "\U0001f600" * 64, "url": "https://example.com/" + "é" * 120_000}
    clicked = record(1, START + HOUR, type="email.clicked", machine=False, id="\U0001f600" * 250, **wide)
    assert 240_000 < len(clicked.value or b"") <= 256 * 1024
    plan = commit(processor, processor.open(0, PARTITIONS, None), record(0, START), clicked)
    assert [move["to"] for move in on(plan, Topic.TRANSITIONS)] == ["subscribed", "engaged"]
    sizes = [len(e.value or b"") + sum(len(v or b"") for _, v in e.headers) for e in plan.emits]
    assert max(sizes) < 1_000_000


def test_a_refused_record_becomes_a_dead_letter_without_a_look_into_it(processor: JourneyProcessor) -> None:
    partition = processor.open(0, PARTITIONS, None)
    batch = processor.refuse(partition, record(0, START), deadly())
    plan = processor.plan(partition, batch)
    assert plan is not None
    assert letters(plan) == [(b"rule-error", b"computing it ended the process 3 times")]
    assert (plan.seq, plan.next_offset, ANN in plan.states, batch.needs) == (1, 1, False, ())


def test_partitions_share_the_cache_and_a_partition_that_is_gone_has_no_share(processor: JourneyProcessor) -> None:
    processor = JourneyProcessor(program=processor.program, tally_partitions=2, cache_contacts=12)
    records = [record(n, START, contact=neighbour(n)) for n in range(20)]
    first, second = processor.open(0, PARTITIONS, None), processor.open(1, PARTITIONS, None)
    commit(processor, first, *records)
    assert list(first.cache) == [neighbour(n) for n in range(14, 20)]
    del second
    commit(processor, first, *(record(20 + n, START, contact=neighbour(n)) for n in range(20)))
    assert len(first.cache) == 12


def test_a_contact_that_moves_too_often_is_counted_and_moves_all_the_same() -> None:
    text = "journey: w\nstages: [a: one.a]\nexits: [b: two.b]\nreenter: always\n"
    journey = parse_journey(text, "w.yaml").journey
    assert journey is not None
    processor = JourneyProcessor(program=compile_program([journey]), tally_partitions=2, cache_contacts=100)
    partition = processor.open(0, PARTITIONS, None)
    events = [record(n, START + n * 1000, type="one.a" if n % 2 == 0 else "two.b") for n in range(80)]
    plan = commit(processor, partition, *events)
    assert (plan.counts["hot_contacts_total",], len(on(plan, Topic.TRANSITIONS))) == (1, 80)


def test_the_state_of_an_erased_contact_is_told_from_every_other(processor: JourneyProcessor) -> None:
    marker = pack(ContactState(erased=2**62, due=2**62))
    assert len(marker) <= MARKER_LIMIT
    assert processor.forgets(marker)
    assert not processor.forgets(pack(ContactState()))
    assert not processor.forgets(pack_activation(Activation(seq=1, in_off=0, clock=0, versions={})))
