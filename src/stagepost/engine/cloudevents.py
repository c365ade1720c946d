"""CloudEvents 1.0 on Kafka: the headers of public output, and the three forms in which a company may publish.

Source: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md
May not contain: what an event means to a journey (``journey/``), or when it is refused (``engine/intake.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from stagepost.engine.plan import Headers

TRANSITION = "dev.stagepost.transition.v1"
MEMBERSHIP = "dev.stagepost.membership.v1"
EVENT = "dev.stagepost.event.v1"
METRIC = "dev.stagepost.metric.v1"
ALERT = "dev.stagepost.alert.v1"

STRUCTURED = b"application/cloudevents"
"""Prefix of the content type of the structured mode."""

_TRACE = ("traceparent", "tracestate")
_TRACE_LIMIT = 512
"""Bytes of one of them; a longer one is none (https://www.w3.org/TR/trace-context/#tracestate-limits)."""

_JSON = ("content-type", b"application/json")
_VERSION = ("ce_specversion", b"1.0")


def source(prefix: str, role: str) -> str:
    """``ce_source`` of what a role writes under a topic prefix.

    >>> source("", "journey"), source("acme.", "rollup")
    ('urn:stagepost::journey', 'urn:stagepost:acme:rollup')
    """
    return f"urn:stagepost:{prefix.rstrip('.')}:{role}"


def headers(
    type_: str,
    source: str,
    id_: str,
    time: str,
    subject: str,
    *,
    correlation: str | None = None,
    causation: str | None = None,
    trace: Headers = (),
) -> Headers:
    """Headers of a public record in binary mode. ``trace``: the trace context of the cause, if it had any."""
    attributes = [
        _VERSION,
        ("ce_id", id_.encode()),
        ("ce_type", type_.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time.encode()),
        ("ce_subject", subject.encode()),
        _JSON,
    ]
    if correlation is not None:
        attributes.append(("ce_correlationid", correlation.encode()))
    if causation is not None:
        attributes.append(("ce_causationid", causation.encode()))
    return (*attributes, *trace)


def trace_of(record_headers: Headers) -> Headers:
    """The trace context of a record, carried from cause to output without an SDK."""
    return tuple(
        (name, value) for name, value in record_headers if name in _TRACE and len(value or b"") <= _TRACE_LIMIT
    )


def attributes_of(record_headers: Headers) -> dict[str, str] | None:
    """CloudEvents attributes of a record in binary mode, None when it is not one; unreadable ones are left out."""
    if not any(name == "ce_specversion" for name, _ in record_headers):
        return None
    attributes = {}
    for name, value in record_headers:
        if name.startswith("ce_") and value is not None:
            with suppress(UnicodeDecodeError):
                attributes[name[3:]] = value.decode()
    return attributes


def is_structured(record_headers: Headers, body: Any) -> bool:
    """Whether a decoded body is a CloudEvent in structured mode: by content type, or by carrying ``specversion``."""
    if not isinstance(body, Mapping):
        return False
    if any(name == "content-type" and value and value.startswith(STRUCTURED) for name, value in record_headers):
        return True
    return "specversion" in body
