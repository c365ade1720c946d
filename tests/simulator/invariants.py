"""What must hold of the log and of the mirror, whatever happened: I1 to I4, I6 and I7 of delivery.md 5.

The observer reads committed records only, as any consumer would, and folds them on its own; it knows nothing of what
the workers hold in memory.
"""

from __future__ import annotations

import copy
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tests.integration.counting import TIMER
from tests.timers import due_in

from stagepost.edges.memory import MemoryBroker
from stagepost.edges.ports import Mirror, decode_committed
from stagepost.engine.plan import CONTROL_KEY, Control, Topic, decode_control

GROUP = "group"

Sent = tuple[str, str, int]
"""Contact, event and broker time, in the order of the log."""


class Violation(BaseException):
    """Something that must never be; no code under test may catch it."""


def require(holds: bool, what: str, *seen: object) -> None:
    if not holds:
        raise Violation(": ".join([what, *map(str, seen)]))


class Observer:
    """Follows one broker. ``copy`` goes with a copy of the broker's content."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.positions: dict[tuple[Topic, int], int] = defaultdict(int)
        self.moves: dict[str, list[str]] = defaultdict(list)
        self.fired: list[tuple[str, str, int]] = []
        self.controls: dict[int, Control] = {}
        self.folds: dict[int, dict[int, Mapping[str, bytes]]] = {p: {0: {}} for p in range(partitions)}
        self.states: dict[int, dict[str, bytes]] = {p: {} for p in range(partitions)}
        self.since_control: dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.balance: Counter[object] = Counter()
        """Of each transaction: transitions that are there, less those that its control records tell."""
        self.moved = 0

    def copy(self) -> Observer:
        made = copy.copy(self)
        made.positions, made.controls = self.positions.copy(), self.controls.copy()
        made.moves = defaultdict(list, {contact: moves[:] for contact, moves in self.moves.items()})
        made.fired = self.fired[:]
        made.folds = {p: folds.copy() for p, folds in self.folds.items()}
        made.states = {p: states.copy() for p, states in self.states.items()}
        made.since_control, made.balance = self.since_control.copy(), self.balance.copy()
        return made

    def drain(self, broker: MemoryBroker) -> None:
        """Read what became readable, and check it."""
        for topic in (Topic.TRANSITIONS, Topic.STATE):
            for partition in range(broker._partitions[topic]):
                place = (topic, partition)
                end = broker._stable(topic, partition)
                for offset in range(self.positions[place], end):
                    entry = broker._logs[place][offset]
                    if not entry.readable():
                        continue
                    if topic is Topic.TRANSITIONS:
                        self._transition((entry.value or b"").decode(), entry.timestamp)
                        self.balance[entry.transaction] += 1
                    else:
                        self._state(partition, entry.key or b"", entry.value, entry.transaction)
                self.positions[place] = max(self.positions[place], end)

    def whole(self, broker: MemoryBroker) -> None:
        """I4: where nothing is undecided, the transactions are whole and the offsets agree with the control records."""
        if broker._pending:
            return
        for transaction, left in self.balance.items():
            require(left == 0, "I4: a transaction was committed in part", left, transaction)
        self.balance.clear()
        for partition in range(self.partitions):
            require(self.since_control[partition] == 0, "I4: states behind the last control record", partition)
            at, control = broker._committed.get((GROUP, partition)), self.controls.get(partition)
            found = (0, 0) if at is None else (decode_committed(*at).seq, at[0])
            wanted = (0, 0) if control is None else (control.seq, control.in_off)
            require(found == wanted, "I4: the committed offset is not that of the control record", found, wanted)

    def mirrored(self, mirror: Mirror, broker: MemoryBroker) -> None:
        """I3: the mirror at batch s shows the fold up to s, unless it says that it is in the middle of one."""
        for partition in range(self.partitions):
            at = mirror.checkpoint(partition)
            if at is None or at.partial:
                continue
            fold = self.folds[partition].get(at.seq)
            if fold is None and broker._stable(Topic.STATE, partition) < len(broker._logs[Topic.STATE, partition]):
                continue  # committed above a transaction that is open still: we are not shown it yet
            require(fold is not None, "I3: the mirror shows a batch that was never committed", partition, at.seq)
            assert fold is not None
            values = mirror.states(partition)
            require(values == fold, f"I3: mirror of {partition} at {at.seq}", values, fold)
            timers = {key: due for key, value in fold.items() if (due := json.loads(value)["due"]) is not None}
            found = due_in(mirror, partition)
            require(found == timers, f"I3: timers of {partition} at {at.seq}", found, timers)

    def at_rest(self, mirror: Mirror, sent: Sequence[Sent]) -> None:
        """I1, I2, I3, I6, I7 once there is nothing left to do."""
        wanted: dict[str, list[str]] = defaultdict(list)
        left: dict[str, dict[str, Any]] = {}
        timers: dict[str, tuple[str, int]] = {}
        for contact, event, at in sent:
            if event.startswith("gone"):
                wanted[contact].append(f"gone {event}")
                left.pop(contact, None)
                continue
            state = left.setdefault(contact, {"n": 0, "due": None, "timer": None})
            state["n"] += 1
            wanted[contact].append(f"{state['n']} {event}")
            if event.startswith("timer"):
                timers[event] = (contact, at)
        require(dict(self.moves) == dict(wanted), "I1: transitions", dict(self.moves), dict(wanted))
        states = {contact: json.loads(value) for states in self.states.values() for contact, value in states.items()}
        require(states == left, "I2: states", states, left)
        self._timers(timers, wanted)
        for partition in range(self.partitions):
            at_batch = mirror.checkpoint(partition)
            seq = self.controls[partition].seq if partition in self.controls else 0
            shown = (0, False) if at_batch is None else (at_batch.seq, at_batch.partial)
            require(shown == (seq, False), "I3: the mirror at rest", partition, shown, seq)

    def _timers(self, timers: Mapping[str, tuple[str, int]], wanted: Mapping[str, Sequence[str]]) -> None:
        """I7. Whether a timer fires before the record that takes it back is a matter of how batches fall."""
        fired = Counter(event for _, event, _ in self.fired)
        require(not fired or max(fired.values()) == 1, "I7: a timer fired twice", fired)
        for contact, event, at in self.fired:
            require(at >= timers[event][1] + TIMER, "I7: a timer fired early", contact, event, at, timers[event])
        for contact, moves in wanted.items():
            last = None
            for move in moves:
                what, event = move.split()
                last = None if what == "gone" else event if event.startswith("timer") else last
            require(last is None or fired[last] == 1, "I7: a timer did not fire", contact, last)

    def _transition(self, value: str, at: int) -> None:
        self.moved += 1
        contact, what, event = value.split()
        if what == "timer":
            newest = next((m for m in reversed(self.moves[contact]) if m.startswith("gone") or " timer" in m), "")
            require(newest.endswith(f" {event}"), "I7: a timer fired that was taken back", value, newest)
            self.fired.append((contact, event, at))
        else:
            self.moves[contact].append(f"{what} {event}")

    def _state(self, partition: int, key: bytes, value: bytes | None, transaction: object) -> None:
        states = self.states[partition]
        if key != CONTROL_KEY:
            self.since_control[partition] += 1
            if value is None:
                states.pop(key.decode(), None)
            else:
                states[key.decode()] = value
            return
        control = decode_control(value or b"")
        before = self.controls.get(partition)
        last = 0 if before is None else before.seq
        require(control.seq == last + 1, f"I4: batch of {partition} after {last}", control.seq)
        require(before is None or control.in_off >= before.in_off, "I4: the input went back", partition, control)
        require(self.since_control[partition] == control.n_states, "I4: states of a batch", partition, control)
        self.since_control[partition] = 0
        self.balance[transaction] -= control.n_out
        self.controls[partition] = control
        self.folds[partition][control.seq] = dict(states)
