"""Public schemas: what stagepost reads from people and writes for other programs, as JSON Schema.

``records.py`` and ``journey_file.py`` are pydantic models made for this alone: no record is read or written through
them. Tests hold them equal to the types that are (``events.py``, ``alerts/record.py``), and to what ``parse.py`` takes.
``packaged/`` holds them as files, so that editors work offline. Compatible changes only: see ``compare.py``.
May not contain: a client, a rule of a journey.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from stagepost.schemas.asyncapi import asyncapi
from stagepost.schemas.journey_file import JourneyFile
from stagepost.schemas.records import Alert, Event, Membership, Metric, Transition
from stagepost.schemas.telling import SchemaGenerator

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MODELS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "journey": JourneyFile,
        "event": Event,
        "transition": Transition,
        "membership": Membership,
        "metric": Metric,
        "alert": Alert,
    }
)
"""By the name that ``stagepost schema`` takes."""

WRITTEN_BY_PEOPLE = frozenset({"journey"})
"""Only read by stagepost; the others are records, which other programs read too."""

PACKAGED = Path(__file__).parent / "packaged"


ASYNCAPI = "asyncapi"
"""The document of all topics, beside the schemas."""

NAMES = (*MODELS, ASYNCAPI)


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema called ``name``, or the AsyncAPI document; the same for the same version of stagepost."""
    if name == ASYNCAPI:
        return asyncapi({each: schema_of(each) for each in MODELS if each not in WRITTEN_BY_PEOPLE})
    made = MODELS[name].model_json_schema(schema_generator=SchemaGenerator)
    for definition in made.get("$defs", {}).values():
        definition.pop("title", None)  # names of classes, which editors would show
    return {"$schema": DIALECT, **made}


def text_of(name: str) -> str:
    """The schema as it lies in a file."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


def file_name(name: str) -> str:
    """How the file of a schema is called; the number changes only with a change that is not compatible."""
    return "asyncapi.json" if name == ASYNCAPI else f"{name}-1.schema.json"
