"""Counting, with states that end: an id that begins with ``gone`` leaves a tombstone, and the count begins anew."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.integration.counting import TIMER, Counting, CountingBatch, CountingPartition

from stagepost.engine.plan import Emit, PartitionPlan, Topic

_NEW = {"n": 0, "due": None, "timer": None}


class Ending(Counting):
    """Transitions are ``contact n id``, ``contact timer id`` and ``contact gone id``."""

    def plan(self, partition: CountingPartition, batch: CountingBatch) -> PartitionPlan | None:
        if not batch.records and not batch.due:
            return None
        states: dict[str, dict[str, Any] | None] = {}
        emits: list[Emit] = []

        def state_of(contact: str) -> dict[str, Any]:
            before = states[contact] if contact in states else partition.cache[contact]
            states[contact] = state = dict(before or _NEW)
            return state

        def emit(*words: object) -> None:
            emits.append(Emit(Topic.TRANSITIONS, str(words[0]).encode(), " ".join(map(str, words)).encode()))

        for contact in batch.due:
            state = state_of(contact)
            emit(contact, "timer", state["timer"])
            state.update(due=None, timer=None)
        for record in batch.records:
            contact, event = (record.key or b"").decode(), (record.value or b"").decode()
            if event.startswith("gone"):
                emit(contact, "gone", event)
                states[contact] = None
                continue
            state = state_of(contact)
            state["n"] += 1
            emit(contact, state["n"], event)
            if event.startswith("timer"):
                state.update(due=record.timestamp + TIMER, timer=event)
        return PartitionPlan(
            partition=partition.number,
            seq=partition.seq + 1,
            next_offset=batch.next_offset,
            clock=batch.clock,
            emits=tuple(emits),
            states={
                contact: None if state is None else json.dumps(state).encode() for contact, state in states.items()
            },
            due={contact: None if state is None else state["due"] for contact, state in states.items()},
            entries=states,
            counts=Counter({("events_applied_total",): len(batch.records)}),
        )
