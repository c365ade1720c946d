"""The public topics as an AsyncAPI 3.1 document: what stagepost receives and sends, with keys, headers and payloads.

Payloads are the schemas of ``records.py`` with their definitions under ``components``; AsyncAPI's own schema dialect is
that of draft 7, so the few newer words are written the old way. Addresses have no prefix: an installation that has one
puts it in front. May not contain: internal topics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stagepost import __version__
from stagepost.engine import cloudevents
from stagepost.engine.plan import Topic
from stagepost.events import PROVIDERS, Reason

VERSION = "3.1.0"


@dataclass(frozen=True, slots=True)
class _Channel:
    """One public topic. ``schema``: name of the payload's schema; None: any bytes."""

    topic: Topic
    actions: tuple[Literal["send", "receive"], ...]
    """Seen from stagepost."""
    key: str
    words: str
    schema: str | None = None
    type: str = ""
    """``ce_type``; empty: stagepost does not write it as a CloudEvent."""


CHANNELS = (
    _Channel(Topic.RAW, ("receive",), "any", "Webhook posts of e-mail providers, the body's bytes as they came."),
    _Channel(Topic.RAW_DLQ, ("send",), "that of the original", "Posts that could not be read, byte for byte."),
    _Channel(
        *(
            Topic.EVENTS,
            ("receive", "send"),
            "the contact",
            "Canonical events: made of webhook posts, and published by the company.",
        ),
        schema="event",
    ),
    _Channel(Topic.EVENTS_DLQ, ("send",), "that of the original", "Events that could not be applied, byte for byte."),
    _Channel(
        *(Topic.TRANSITIONS, ("send",), "the contact", "One record for each move and stall."),
        schema="transition",
        type=cloudevents.TRANSITION,
    ),
    _Channel(
        *(Topic.CONTACTS, ("send",), "journey/contact", "Where each contact is; compacted, the newest counts."),
        schema="membership",
        type=cloudevents.MEMBERSHIP,
    ),
    _Channel(
        *(Topic.METRICS, ("send",), "scope type/scope id/window/start", "Counts and rates by scope and window."),
        schema="metric",
        type=cloudevents.METRIC,
    ),
    _Channel(
        *(Topic.ALERTS, ("send",), "the fingerprint", "Spikes and broken limits; at least once, (incident_id, rev)."),
        schema="alert",
        type=cloudevents.ALERT,
    ),
)


def asyncapi(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document. ``schemas``: JSON Schemas of the payloads, by name."""
    components: dict[str, Any] = {}
    for name, schema in schemas.items():
        for definition, value in schema.get("$defs", {}).items():
            components[f"{name}.{definition}"] = _as_draft_7(value, name)
        whole = {key: value for key, value in schema.items() if key not in ("$schema", "$defs")}
        components[name] = _as_draft_7(whole, name)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "stagepost",
            "version": __version__,
            "description": "Where contacts stand in customer journeys. Read it with isolation.level=read_committed.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_id(channel): _channel(channel) for channel in CHANNELS},
        "operations": {
            f"{action}_{_id(channel)}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{_id(channel)}"},
                "summary": channel.words,
            }
            for channel in CHANNELS
            for action in channel.actions
        },
        "components": {"schemas": components},
    }


def _id(channel: _Channel) -> str:
    return channel.topic.value.replace(".", "_")


def _channel(channel: _Channel) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": channel.schema or channel.topic.value,
        "summary": channel.words,
        "headers": _headers(channel),
        "bindings": {"kafka": {"key": {"type": "string", "description": channel.key}, "bindingVersion": "0.5.0"}},
    }
    if channel.schema is not None:
        message["contentType"] = "application/json"
        message["payload"] = {"$ref": f"#/components/schemas/{channel.schema}"}
    else:
        message["contentType"] = "application/octet-stream"
        message["payload"] = {"description": "The bytes as they came."}
    return {
        "address": channel.topic.value,
        "description": channel.words,
        "messages": {channel.schema or "bytes": message},
        "bindings": {"kafka": {"topic": channel.topic.value, "bindingVersion": "0.5.0"}},
    }


def _headers(channel: _Channel) -> dict[str, Any]:
    if channel.type:
        return _cloudevent(channel.type, with_run=channel.schema == "transition")
    if channel.topic is Topic.EVENTS:
        words = "Binary mode; bare JSON and the structured mode are read too."
        return _object(
            {"ce_specversion": (words, {"const": "1.0"}), "ce_type": ("Type of the event.", {})}, required=[]
        )
    if channel.topic is Topic.RAW:
        return _object(
            {
                "provider": ("Who sent the post.", {"enum": sorted(PROVIDERS)}),
                "account": ("Account at the provider; default: default.", {}),
                "received_at": ("When it was received, RFC 3339; default: the record's timestamp.", {}),
                "url": ("The URL that was called.", {}),
                "content-type": ("Of the body.", {}),
            },
            required=["provider"],
        )
    return _object(
        {
            "stagepost-reason": ("Why it lies here.", {"enum": [reason.value for reason in Reason]}),
            "stagepost-detail": ("What and where, no value of the payload.", {}),
            "__dlq.errors.topic": ("Topic of the original.", {}),
            "__dlq.errors.partition": ("Its partition.", {}),
            "__dlq.errors.offset": ("Its offset.", {}),
        },
        required=["stagepost-reason"],
    )


def _cloudevent(type_: str, *, with_run: bool) -> dict[str, Any]:
    fields: dict[str, tuple[str, dict[str, Any]]] = {
        "ce_specversion": ("CloudEvents, binary mode.", {"const": "1.0"}),
        "ce_id": ("The same for the same record, after a crash too.", {}),
        "ce_type": ("What it is.", {"const": type_}),
        "ce_source": ("urn:stagepost:PREFIX:ROLE.", {}),
        "ce_time": ("When it happened, RFC 3339.", {}),
        "ce_subject": ("What it is about.", {}),
        "content-type": ("Of the value.", {"const": "application/json"}),
        "traceparent": ("Trace context of the cause.", {}),
        "tracestate": ("Trace context of the cause.", {}),
    }
    if with_run:
        fields["ce_correlationid"] = ("The run.", {})
        fields["ce_causationid"] = ("Id of the event that caused it.", {})
    return _object(fields, required=["ce_specversion", "ce_id", "ce_type", "ce_source"])


def _object(fields: Mapping[str, tuple[str, dict[str, Any]]], required: list[str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": words, **more} for name, (words, more) in fields.items()}
    return {"type": "object", "properties": properties, "required": required}


def _as_draft_7(schema: Any, name: str) -> Any:
    """References to where the definitions are here, and the fixed items of a list as draft 7 has them."""
    if isinstance(schema, list):
        return [_as_draft_7(item, name) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value if key == "examples" else _as_draft_7(value, name) for key, value in schema.items()}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/$defs/", f"#/components/schemas/{name}.")
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")
    return made
