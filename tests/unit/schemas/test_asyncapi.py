"""The AsyncAPI document: topics as they are, references that lead somewhere, and examples that its payloads take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from stagepost import __version__
from stagepost.engine.plan import Topic
from stagepost.schemas import MODELS, WRITTEN_BY_PEOPLE, schema_of

DOCUMENT = schema_of("asyncapi")

INTERNAL = {Topic.STATE, Topic.TALLIES, Topic.TALLIES_DLQ, Topic.ROLLUP, Topic.ALERTS_DLQ}

SHOWN = {
    # the records shown in the documentation
    "event": {
        "id": "order-5512",
        "type": "order.completed",
        "occurred_at": "2026-11-02T09:14:07Z",
        "contact": "c-8841",
        "data": {"total": 129.0},
    },
    "transition": {
        **{"id": "1699", "journey": "webinar-nurture", "version": "3daa4227", "contact": "c-8841", "run": "c-8841/w/1"},
        **{"from": "subscribed", "to": "interested", "kind": "advance", "at": "2026-11-02T09:14:07.000Z"},
        "rule": "stages.interested",
        "cause": {"id": "0be9", "type": "email.clicked", "campaign": "nurture-3", "url": None, "machine": None},
        "timer": None,
        "credit": {"campaign": "nurture-3", "message": "14c5", "at": "2026-11-02T09:14:07.000Z", "how": "direct"},
        "last_send": {"campaign": "nurture-3", "message": "14c5", "at": "2026-11-02T09:00:00.000Z"},
        **{"goal": False, "move": 2, "dwell_s": 4447, "best": "interested", "late": False, "replay": False},
    },
}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def found(reference: str) -> Any:
    value: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def test_every_public_topic_is_a_channel_and_no_internal_one_is() -> None:
    assert ("3.1.0", __version__) == (DOCUMENT["asyncapi"], DOCUMENT["info"]["version"])
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert {topic.value for topic in set(Topic) - INTERNAL} == addresses


def test_every_reference_leads_somewhere() -> None:
    assert [] == [reference for reference in references(DOCUMENT) if not found(reference)]


def test_what_is_received_and_what_is_sent() -> None:
    by_action: dict[str, list[str]] = {"send": [], "receive": []}
    for operation in DOCUMENT["operations"].values():
        by_action[operation["action"]].append(found(operation["channel"]["$ref"])["address"])
    assert ["email.raw", "email.events"] == by_action["receive"]
    assert {"email.events", "journey.transitions", "journey.contacts", "email.metrics", "email.alerts"} <= set(
        by_action["send"]
    )


@pytest.mark.parametrize("name", set(MODELS) - WRITTEN_BY_PEOPLE)
def test_payloads_are_schemas_of_draft_7(name: str) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft7Validator.check_schema(whole)
    assert "prefixItems" not in json.dumps(DOCUMENT) and "$defs" not in json.dumps(DOCUMENT)


@pytest.mark.parametrize("name", SHOWN)
def test_the_documented_records_are_taken_by_both_schemas(name: str) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    for schema in (whole, schema_of(name)):
        assert [] == [error.message for error in Draft7Validator(schema).iter_errors(SHOWN[name])]
        assert not Draft7Validator(whole).is_valid(SHOWN[name] | {"contact": None})
