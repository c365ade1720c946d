"""Which changes of a schema are compatible: each way of breaking one is told with its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from stagepost.schemas import MODELS, WRITTEN_BY_PEOPLE, schema_of
from stagepost.schemas.compare import changes

Edit = Callable[[dict[str, Any]], object]


def changed(name: str, edit: Edit) -> list[str]:
    """What is said when the present schema is the old one and the edited one takes its place."""
    old = schema_of(name)
    new = copy.deepcopy(old)
    edit(new)
    return changes(old, new, is_record=name not in WRITTEN_BY_PEOPLE)


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_may_take_its_own_place(name: str) -> None:
    assert [] == changed(name, lambda new: None)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("transition", lambda new: new["properties"].update(more={"type": "string"})),
        ("transition", lambda new: new["properties"]["kind"].update(description="Other words.")),
        ("journey", lambda new: new["properties"].update(more={"type": "string"})),
        ("journey", lambda new: new["properties"]["on_change"]["enum"].append("drop")),
        ("journey", lambda new: new["properties"]["stages"].update(maxItems=65)),
        ("journey", lambda new: new["properties"]["links"].pop("propertyNames")),
        ("journey", lambda new: new["$defs"]["Condition"]["anyOf"].append({"type": "null"})),
    ],
)
def test_what_adds_is_compatible(name: str, edit: Edit) -> None:
    assert [] == changed(name, edit)


@pytest.mark.parametrize(
    ("name", "edit", "told"),
    [
        ("transition", lambda new: new["properties"].pop("rule"), "/rule: is gone"),
        ("transition", lambda new: new["required"].remove("rule"), "/rule: is required, for readers"),
        ("transition", lambda new: new["required"].append("replay"), "/replay: is required"),
        ("transition", lambda new: new["properties"].update(goal={"type": "string"}), "/goal/: boolean is not allowed"),
        (
            "transition",
            lambda new: new["properties"].update(at={"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "/at/: null is not allowed, for readers",
        ),
        ("transition", lambda new: new["$defs"]["Credit"]["properties"].pop("how"), "/credit/how: is gone"),
        ("membership", lambda new: new["properties"]["status"]["enum"].append("paused"), "/status/: 'paused' is not"),
        ("journey", lambda new: new["properties"].pop("labels"), "/labels: is not known"),
        ("journey", lambda new: new["required"].append("goal"), "/goal: is required"),
        ("journey", lambda new: new["properties"]["stages"].update(maxItems=10), "/stages/: maxItems is 10"),
        ("journey", lambda new: new["properties"]["stages"].update(minItems=2), "/stages/: minItems is 2"),
        ("journey", lambda new: new["properties"]["journey"].update(pattern="^x"), "/journey/: pattern is ^x"),
        ("journey", lambda new: new["properties"]["enter"].update(enum=["any"]), "/enter/: 'first' is not allowed"),
        ("journey", lambda new: new["$defs"]["Condition"]["anyOf"].pop(0), "/recover/: EventType is not allowed"),
        (
            "journey",
            lambda new: new["$defs"]["NoClickValue"]["properties"]["sends"].update(maximum=5),
            "/recover/: NoClick is not allowed",
        ),
    ],
)
def test_each_way_of_breaking_a_schema_is_told_with_its_place(name: str, edit: Edit, told: str) -> None:
    found = changed(name, edit)
    assert [] != [line for line in found if line.startswith(told)], found
