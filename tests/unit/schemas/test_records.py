"""The public models are the types that are read and written: same fields, same kinds, and real records validate."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from tests.properties.test_journey_laws import END, journeys, streams
from tests.scenarios.story import Partition

from stagepost import events
from stagepost.alerts.record import AlertRecord
from stagepost.journey.definition import Journey
from stagepost.journey.step import memberships
from stagepost.schemas import schema_of

TYPES = {
    "event": events.Event,
    "transition": events.Transition,
    "membership": events.Membership,
    "metric": events.MetricWindow,
    "alert": AlertRecord,
}


def shape(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """What a schema says about kinds, in one form for both generators; bounds, words and closed lists left out."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        parts = [shape(part, root) for part in schema["anyOf"]]
        return frozenset().union(*(part if isinstance(part, frozenset) else {part} for part in parts))
    if "enum" in schema or "const" in schema:
        return frozenset({"string"})
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        needed = schema.get("required", [])
        fields = {(key, key in needed, shape(value, root)) for key, value in schema["properties"].items()}
        return frozenset({("object", frozenset(fields))})
    if kind == "object":
        rest = schema.get("additionalProperties", {})
        return frozenset({("mapping", shape(rest if isinstance(rest, dict) else {}, root))})
    if kind == "array":
        items = [shape(item, root) for item in schema.get("prefixItems", [])] or [shape(schema.get("items", {}), root)]
        return frozenset({("array", frozenset(items))})
    return frozenset([kind] if isinstance(kind, str) else kind or ["any"])


def of_struct(type_: type) -> dict[str, Any]:
    return msgspec.json.schema(type_, ref_template="#/$defs/{name}")


@pytest.mark.parametrize("name", TYPES)
def test_each_model_has_the_fields_and_kinds_of_its_struct(name: str) -> None:
    written, public = of_struct(TYPES[name]), schema_of(name)
    assert shape(written, written) == shape(public, public)


def test_a_field_that_only_one_side_has_is_noticed() -> None:
    class More(events.Membership, frozen=True, kw_only=True):
        extra: int = 0

    written, public = of_struct(More), schema_of("membership")
    assert shape(written, written) != shape(public, public)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(journeys(), streams())
def test_events_transitions_and_memberships_of_any_journey_validate(
    journey: Journey, stream: list[events.Event]
) -> None:
    partition = Partition(journey)
    partition.batch(stream, until=END)
    records: dict[str, list[Any]] = {"event": list(stream), "transition": [], "membership": []}
    for contact, step in partition.steps:
        records["transition"] += step.moves
        records["membership"] += memberships(contact, step)
    for name, made in records.items():
        check = Draft202012Validator(schema_of(name))
        for record in made:
            assert [] == [error.message for error in check.iter_errors(json.loads(events.encode_json(record)))]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"id": "", "type": "a.b", "occurred_at": "2026-11-02T09:14:07Z", "contact": "c"},
        {"id": "1", "type": "nodot", "occurred_at": "2026-11-02T09:14:07Z", "contact": "c"},
        {"id": "1", "type": "a.b", "occurred_at": "2026-11-02T09:14:07Z", "contact": None},
        {"id": "1", "type": "a.b", "occurred_at": "2026-11-02T09:14:07Z", "contact": "c", "scope": None},
    ],
)
def test_what_is_no_event_does_not_validate(broken: dict[str, Any]) -> None:
    assert not Draft202012Validator(schema_of("event")).is_valid(broken)
