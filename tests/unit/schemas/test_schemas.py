"""Every schema: packaged as it is made, valid itself, and a word and an example for every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stagepost.schemas import MODELS, PACKAGED, file_name, schema_of, text_of


@pytest.mark.parametrize("name", MODELS)
def test_the_packaged_file_is_what_is_made(name: str) -> None:
    assert (PACKAGED / file_name(name)).read_text(encoding="utf-8") == text_of(name)


def test_nothing_else_is_packaged() -> None:
    assert sorted(file_name(name) for name in MODELS) == sorted(path.name for path in PACKAGED.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schema_of(name))


def objects(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield place, schema
        for key, value in schema.items():
            if key not in ("examples", "default"):
                yield from objects(value, f"{place}/{key}")


@pytest.mark.parametrize("name", MODELS)
def test_every_field_has_a_description_and_examples_that_it_accepts(name: str) -> None:
    root = schema_of(name)
    silent, wrong = [], []
    for place, schema in objects(root):
        assert schema.get("description"), place
        for key, field in schema["properties"].items():
            if not field.get("description") or not field.get("examples"):
                silent.append(f"{place}: {key}")
            if name == "journey":
                checker = Draft202012Validator({**field, "$defs": root["$defs"]})
                wrong += [f"{place}: {key}: {value}" for value in field["examples"] if not checker.is_valid(value)]
    assert ([], []) == (silent, wrong)


@pytest.mark.parametrize("name", MODELS)
def test_no_field_of_a_schema_has_null_as_default_or_a_class_for_a_title(name: str) -> None:
    root = schema_of(name)
    assert '"default": null' not in json.dumps(root)
    assert [] == [key for key, value in root.get("$defs", {}).items() if "title" in value]
