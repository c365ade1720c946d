"""What came out of the roles, folded from the records of the output topics: funnel, moves, alerts, dead letters.

Pure. Records that are seen twice count once: the embedded broker shows aborted transactions too.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from stagepost.engine.plan import Record, Topic
from stagepost.events import Transition
from stagepost.journey.definition import Journey
from stagepost.journey.simulate import Funnel, FunnelRow

OUTPUTS = (Topic.TRANSITIONS, Topic.METRICS, Topic.ALERTS, Topic.RAW_DLQ, Topic.EVENTS_DLQ)
"""The topics that are folded."""

NEWEST = 12
"""Moves that are remembered for the view."""

_REASON = "stagepost-reason"

_decode_transition = msgspec.json.Decoder(Transition).decode

_DEAD_LETTERS = {Topic.RAW_DLQ: Topic.RAW, Topic.EVENTS_DLQ: Topic.EVENTS}


@dataclass(frozen=True)
class Incident:
    """An alert as of its newest revision. ``fired``: whether any revision said so."""

    metric: str
    scope_type: str
    scope_id: str
    status: str
    severity: str
    fired: bool
    fired_at: str | None
    summary: str
    rev: int


class Results:
    """Grows with every record; changes nothing when a record comes again. For one thread at a time."""

    def __init__(self, journeys: Iterable[Journey]) -> None:
        self.journeys = tuple(journeys)
        self.kinds: Counter[str] = Counter()
        self.newest: deque[Transition] = deque(maxlen=NEWEST)
        self.windows: set[bytes] = set()
        self.dead_letters: Counter[tuple[Topic, str]] = Counter()
        """By original topic and reason."""
        self._funnel = Funnel(self.journeys)
        self._incidents: dict[str, Incident] = {}
        self._moves: set[str] = set()
        self._letters: set[tuple[bytes, ...]] = set()

    @property
    def transitions(self) -> int:
        return len(self._moves)

    @property
    def fired(self) -> tuple[Incident, ...]:
        """Incidents that ever fired, in the order in which they came up."""
        return tuple(incident for incident in self._incidents.values() if incident.fired)

    def funnel(self, journey: str) -> tuple[FunnelRow, ...]:
        return self._funnel.rows(journey)

    def add(self, record: Record) -> Transition | None:
        """Take one record; returns the move that it told, when it is a new one."""
        if record.value is None:
            return None
        match record.topic:
            case Topic.TRANSITIONS:
                return self._move(_decode_transition(record.value))
            case Topic.METRICS:
                self.windows.add(record.key or b"")
            case Topic.ALERTS:
                self._alert(msgspec.json.decode(record.value))
            case Topic.RAW_DLQ | Topic.EVENTS_DLQ:
                self._dead_letter(record)
        return None

    def _move(self, move: Transition) -> Transition | None:
        if move.id in self._moves:
            return None
        self._moves.add(move.id)
        self.kinds[move.kind] += 1
        self._funnel.add(move)
        self.newest.append(move)
        return move

    def _alert(self, alert: dict[str, Any]) -> None:
        before = self._incidents.get(alert["incident_id"])
        if before is not None and before.rev > alert["rev"]:
            return
        self._incidents[alert["incident_id"]] = Incident(
            metric=alert["metric"],
            scope_type=alert["scope"]["type"],
            scope_id=alert["scope"]["id"],
            status=alert["status"],
            severity=alert["severity"],
            fired=alert["status"] == "firing" or (before is not None and before.fired),
            fired_at=alert.get("fired_at"),
            summary=alert.get("summary", ""),
            rev=alert["rev"],
        )

    def _dead_letter(self, record: Record) -> None:
        headers = dict(record.headers)
        place = tuple(headers.get(f"__dlq.errors.{part}", b"") for part in ("topic", "partition", "offset"))
        if place not in self._letters:
            self._letters.add(place)
            self.dead_letters[_DEAD_LETTERS[record.topic], headers[_REASON].decode()] += 1
