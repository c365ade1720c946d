"""The verdict: the invariants of delivery.md 5, read from the public topics and Redis alone, at rest."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from confluent_kafka import Consumer, TopicPartition
from tests.faults.generator import MALFORMED
from tests.faults.watch import Shown, digest, show
from tests.integration.roles import Installation, Read, by_partition
from tests.integration.stream import JOURNEY
from tests.oracle import interpreter, language
from tests.oracle.compare import FIELDS

from stagepost.edges.keys import MirrorKeys
from stagepost.edges.ports import decode_committed
from stagepost.engine.definitions import is_reserved
from stagepost.engine.plan import CONTROL_KEY, Control, decode_control
from stagepost.events import decode_tally_batch, parse_rfc3339
from stagepost.journey.state import next_due, unpack

OUTPUTS = ("journey.transitions", "journey.contacts", "stagepost.tallies", "email.events.dlq")

_MOST_TOLD = 5
"""Violations of one kind that are told with their place; the rest is counted."""


@dataclass
class Verdict:
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How much was compared: a verdict over nothing would be no verdict."""

    def broken(self, invariant: str, what: str) -> None:
        self.counts[f"violations of {invariant}"] += 1
        if self.counts[f"violations of {invariant}"] <= _MOST_TOLD:
            self.violations.append(f"{invariant}: {what}")


def judge(installation: Installation, shown: Iterable[Shown]) -> Verdict:
    """All that can be told at rest: nothing is produced any more, and everything is committed."""
    verdict = Verdict()
    state = by_partition(installation.read("stagepost.state"))
    controls = {partition: _controls(records, partition, verdict) for partition, records in state.items()}
    last = {partition: found[-1] for partition, found in controls.items() if found}
    _moves(installation, last, verdict)
    _outputs(installation, controls, verdict)
    _offsets(installation, last, verdict)
    _mirror(installation, state, shown, verdict)
    _rollup(installation, verdict)
    return verdict


def _controls(records: list[Read], partition: int, verdict: Verdict) -> list[Control]:
    """I4: batch numbers without gap or repetition, and as many states before each as it says."""
    found: list[Control] = []
    states = 0
    for record in records:
        if record.key != CONTROL_KEY:
            states += 1
            continue
        control = decode_control(record.value or b"")
        expected = found[-1].seq + 1 if found else 1
        if control.seq != expected:
            verdict.broken("I4", f"partition {partition}: batch {control.seq} where {expected} was due")
        if control.n_states != states:
            verdict.broken(
                "I4", f"partition {partition}: batch {control.seq} has {states} of {control.n_states} states"
            )
        if found and control.in_off < found[-1].in_off:
            verdict.broken("I4", f"partition {partition}: batch {control.seq} goes back in the input")
        found.append(control)
        states = 0
    verdict.counts["batches"] += len(found)
    return found


def _moves(installation: Installation, last: Mapping[int, Control], verdict: Verdict) -> None:
    """I1, I7: the moves of each contact are those of the oracle, in order, once each, by the partition's clock."""
    journeys = [language.read(JOURNEY)]
    expected: dict[str, list[Any]] = {}
    erased: set[str] = set()
    delivered: dict[str, set[tuple[str, str]]] = defaultdict(set)
    malformed = 0
    for partition, records in by_partition(installation.read("email.events")).items():
        verdict.counts["events"] += len(records)
        if partition not in last or last[partition].in_off != records[-1].offset + 1:
            verdict.broken("I9", f"partition {partition} is not processed to its end")
            continue
        dated: dict[str, list[tuple[dict[str, Any], int]]] = defaultdict(list)
        clock = 0
        for record in records:
            if record.value == MALFORMED:
                malformed += 1
                continue
            event = record.json()
            clock = max(clock, interpreter.micros(event["occurred_at"]))
            dated[event["contact"]].append((event, clock))
            if event["type"] == "contact.erased":
                erased.add(event["contact"])
            elif event["type"] == "email.delivered" and event["contact"] not in erased:
                delivered[event["campaign"]].add((event["contact"], event["id"]))
        for contact, events in dated.items():
            moves = interpreter.run_in_partition(journeys, events, last[partition].clock)
            expected[contact] = [_plain(move) for move in moves]
    actual: dict[str, list[Any]] = defaultdict(list)
    ids: Counter[str] = Counter()
    for record in installation.read("journey.transitions"):
        move = record.json()
        ids[move["id"]] += 1
        actual[move["contact"]].append(_plain(_of_wire(move)))
    for id_ in [id_ for id_, times in ids.items() if times > 1]:
        verdict.broken("I1", f"transition {id_} was published {ids[id_]} times")
    for contact in sorted(expected.keys() | actual.keys()):
        if expected.get(contact, []) != actual.get(contact, []):
            verdict.broken("I1", f"contact {contact}: {_difference(expected.get(contact, []), actual[contact])}")
    _memberships(installation, expected, erased, verdict)
    if (letters := len(installation.read("email.events.dlq"))) != malformed:
        verdict.broken("I6", f"{letters} dead letters, of {malformed} malformed events")
    _metrics(installation, {campaign: len(events) for campaign, events in delivered.items()}, verdict)
    verdict.counts["malformed events"] += malformed
    verdict.counts["erased contacts"] += len(erased)
    verdict.counts["moves"] += sum(map(len, expected.values()))
    verdict.counts["moves by timer"] += sum(move["timer"] is not None for moves in expected.values() for move in moves)
    verdict.counts["contacts"] += len(expected)


def _memberships(
    installation: Installation, expected: Mapping[str, list[Any]], erased: Collection[str], verdict: Verdict
) -> None:
    """I2: what is told of each contact is where the oracle's last move left it. I8: nothing of who was erased."""
    newest = {record.key: record.json() for record in installation.read("journey.contacts")}
    for contact, moves in expected.items():
        if not moves:
            continue
        told, last = newest.pop(f"nurture/{contact}".encode(), {}), moves[-1]
        if contact in erased:
            if told is not None:
                verdict.broken("I8", f"contact {contact} was erased, and is told to be {told}")
            continue
        wanted = (last["run"], last["to"], last["best"])
        if (told.get("run"), told.get("stage"), told.get("best")) != wanted:
            verdict.broken("I2", f"contact {contact} is told to be {told}, not {wanted}")
    for key in newest:
        verdict.broken("I2", f"{key!r} is told of, but never moved")


def _metrics(installation: Installation, delivered: Mapping[str, int], verdict: Verdict) -> None:
    """I5: the tallies of each campaign are the recount of the input, and what is published of its life is never more:
    a change is published 30 s later at most, by the clock of tallies, which has stopped with the input."""
    tallied: dict[str, Counter[str]] = defaultdict(Counter)
    for record in installation.read("stagepost.tallies"):
        for delta in decode_tally_batch(record.value or b"").deltas:
            tallied[delta.scope_id][delta.metric] += delta.n
    for campaign in sorted(tallied.keys() | delivered.keys()):
        if tallied[campaign]["delivered"] != delivered.get(campaign, 0):
            told = f"{tallied[campaign]['delivered']} deliveries are tallied of {delivered.get(campaign, 0)}"
            verdict.broken("I5", f"campaign {campaign}: {told}")
    newest: dict[str, Any] = {}
    for record in installation.read("email.metrics"):
        body = record.json()
        if (body["scope"]["type"], body["window"]) == ("campaign", "all"):
            newest[body["scope"]["id"]] = body["counts"]
    for campaign, counts in newest.items():
        for metric, number in counts.items():
            if number > tallied[campaign][metric]:
                told = f"{number} {metric} are published, {tallied[campaign][metric]} tallied"
                verdict.broken("I5", f"campaign {campaign}: {told}")
    verdict.counts["campaigns recounted"] += len(tallied)


def _of_wire(move: dict[str, Any]) -> dict[str, Any]:
    for part in ("credit", "last_send"):
        if move.get(part):
            move[part]["at"] = parse_rfc3339(move[part]["at"])
    move["at"] = parse_rfc3339(move["at"])
    move["cause"] = move.get("cause") and move["cause"]["id"]
    move["timer"] = move.get("timer") and (move["timer"]["name"], parse_rfc3339(move["timer"]["due"]))
    return move


def _plain(move: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _without_none(move.get(name)) for name in FIELDS}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if part is not None}
    return value


def _difference(expected: list[Any], actual: list[Any]) -> str:
    for place, (wanted, got) in enumerate(zip(expected, actual, strict=False)):
        if wanted != got:
            names = [name for name in FIELDS if wanted[name] != got[name]]
            return f"move {place}: " + ", ".join(f"{name} {got[name]!r}, not {wanted[name]!r}" for name in names)
    return f"{len(actual)} moves, not {len(expected)}"


def _outputs(installation: Installation, controls: Mapping[int, list[Control]], verdict: Verdict) -> None:
    """I4: as many records in the outputs as all batches together say."""
    found = sum(len(installation.read(topic)) for topic in OUTPUTS)
    said = sum(control.n_out for each in controls.values() for control in each)
    if found != said:
        verdict.broken("I4", f"{found} output records, where the batches say {said}")
    verdict.counts["output records"] += found


def _offsets(installation: Installation, last: Mapping[int, Control], verdict: Verdict) -> None:
    """I4: the committed offset and its metadata are those of the last batch."""
    consumer = Consumer(
        {"bootstrap.servers": installation.bootstrap, "group.id": installation.topic("stagepost.journey")}
    )
    topic = installation.topic("email.events")
    try:
        found = consumer.committed([TopicPartition(topic, partition) for partition in last], timeout=20)
    finally:
        consumer.close()
    for place in found:
        committed, control = decode_committed(place.offset, place.metadata), last[place.partition]
        if (committed.offset, committed.seq) != (control.in_off, control.seq):
            verdict.broken("I4", f"partition {place.partition}: committed {committed}, last batch {control.seq}")


def _mirror(
    installation: Installation, state: Mapping[int, list[Read]], shown: Iterable[Shown], verdict: Verdict
) -> None:
    """I3: at each look, Redis showed the fold of the state topic up to the batch that it named; now to its end."""
    keys = MirrorKeys.of(installation.prefix, "journey")
    wanted: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in shown:
        wanted[one.partition][one.seq].add(one.digest)
    with redis.Redis.from_url(installation.redis_url) as client:
        for partition, records in state.items():
            fold: dict[bytes, bytes] = {}
            seq = 0
            _compare(partition, 0, fold, wanted[partition], verdict)
            for record in records:
                assert record.key is not None
                if record.key == CONTROL_KEY:
                    seq = decode_control(record.value or b"").seq
                    _compare(partition, seq, fold, wanted[partition], verdict)
                elif record.value is None:
                    fold.pop(record.key, None)
                else:
                    fold[record.key] = record.value
            for number in wanted[partition].keys() - {0}:
                if number > seq:
                    verdict.broken("I3", f"partition {partition}: Redis showed batch {number}, the log ends at {seq}")
            now = show(client, keys, partition)
            if now != (seq, False, fold):
                verdict.broken("I3", f"partition {partition}: at rest Redis is at {now[0]}, not the fold up to {seq}")
            verdict.counts["states in Redis"] += len(fold)
            due = {key: next_due(unpack(value)) for key, value in fold.items() if not is_reserved(key.decode())}
            timers = {key: int(score) for key, score in client.zrange(keys.timers(partition), 0, -1, withscores=True)}  # type: ignore[union-attr]
            if timers != {key: at for key, at in due.items() if at is not None}:
                verdict.broken("I3", f"partition {partition}: the timers in Redis are not those of its states")
            verdict.counts["timers in Redis"] += len(timers)


def _compare(
    partition: int, seq: int, fold: dict[bytes, bytes], shown: Mapping[int, set[str]], verdict: Verdict
) -> None:
    if seq in shown:
        verdict.counts["looks at Redis"] += len(shown[seq])
        if shown[seq] != {digest(fold)}:
            verdict.broken("I3", f"partition {partition}: Redis at batch {seq} was not the fold up to it")


def _rollup(installation: Installation, verdict: Verdict) -> None:
    """I4 of the second stage: each tally of the first is there once; and its own batches have no gap."""
    seen: Counter[tuple[int, Any, Any]] = Counter()
    for record in installation.read("stagepost.tallies"):
        tally = json.loads(record.value or b"{}")
        seen[record.partition, tally.get("p"), tally.get("seq")] += 1
    for place, times in seen.items():
        if times > 1:
            verdict.broken("I4", f"tally of partition and batch {place[1:]} was published {times} times")
    verdict.counts["tallies"] += len(seen)
    for partition, records in by_partition(installation.read("stagepost.rollup")).items():
        _controls(records, partition, verdict)
