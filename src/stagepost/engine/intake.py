"""Reading one record of ``email.events``: an Event and its time, or the reason why not. Never raises.

Accepts bare JSON, and CloudEvents in structured and binary mode (design.md 3). Everything is bounded before it is
parsed. May not contain: what an event does to a contact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct, structs

from stagepost.engine import cloudevents
from stagepost.engine.plan import Headers
from stagepost.events import (
    CONTACT_TYPES,
    DAY,
    EMAIL_TYPES,
    Event,
    Reason,
    Rejected,
    decode_event_json,
    parse_rfc3339,
    rfc3339,
)
from stagepost.normalise.bodies import too_deep

EVENT_LIMIT = 256 * 1024
"""Bytes of one event (design.md 3); what is larger is ``oversize``."""

DEPTH_LIMIT = 32
"""Nested objects and arrays of one event (providers.md 5.3)."""

ID_LIMIT = 256
"""Bytes of an event id, type, contact, campaign or message id: they become keys, and memory of a contact."""

OLDEST = parse_rfc3339("2000-01-01T00:00:00Z")
"""Before e-mail marketing on Kafka existed, a time is a mistake (experience.md 3, implausible-time)."""

_NO_DATA = b"null"
"""The value of a CloudEvent in binary mode that has no data: the record's own is empty or missing."""

_NEVER_NULL = frozenset(
    field.encode_name
    for field in structs.fields(Event)
    if not field.required and type(None) not in get_args(field.type)
)
"""Keys that may be missing, and for which null says the same: many programs write every field that they know."""

AHEAD_LIMIT = DAY
"""Further ahead of the broker timestamp than this is a mistake, up to it clock skew and clamped."""


class Incoming(Struct, frozen=True, gc=False):
    """An event and when it happened: ``at`` is ``occurred_at`` in micros, clamped to the broker timestamp."""

    event: Event
    at: int


def read_event(value: bytes | None, *, headers: Headers = (), broker_time: int | None = None) -> Incoming | Rejected:
    """The event in ``value``. ``broker_time`` (micros) None: there is no broker (``simulate``), nothing is clamped."""
    attributes = cloudevents.attributes_of(headers) if headers else None
    if not value and attributes is None:
        return Rejected(Reason.UNDECODABLE, "empty value")
    value = value or _NO_DATA
    if len(value) > EVENT_LIMIT:
        return Rejected(Reason.OVERSIZE, f"{len(value)} bytes, more than {EVENT_LIMIT}")
    if too_deep(value, DEPTH_LIMIT):
        return Rejected(Reason.OVERSIZE, f"nested deeper than {DEPTH_LIMIT}")
    try:
        event = _decode(value, headers, attributes, broker_time)
    except msgspec.ValidationError as error:
        return _schema_rejection(value, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected(Reason.UNDECODABLE, _where(error))
    return event if isinstance(event, Rejected) else _checked(event, broker_time)


def _decode(
    value: bytes, headers: Headers, attributes: Mapping[str, Any] | None, broker_time: int | None
) -> Event | Rejected:
    if attributes is not None:
        return _from_cloudevent(attributes, msgspec.json.decode(value), broker_time)
    if b'"specversion"' in value:
        body = msgspec.json.decode(value)
        if cloudevents.is_structured(headers, body):
            return _from_cloudevent(body, body.get("data"), broker_time)
    try:
        return decode_event_json(value)
    except msgspec.ValidationError:  # a second look costs only those that write nulls
        return msgspec.convert(_without_nulls(msgspec.json.decode(value)), Event)


def _without_nulls(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {key: value for key, value in body.items() if value is not None or key not in _NEVER_NULL}


def _from_cloudevent(attributes: Mapping[str, Any], data: Any, broker_time: int | None) -> Event | Rejected:
    """A CloudEvent as an Event: ``contact`` from the data, else ``subject``; a missing time is the broker timestamp.

    For types of the vocabulary the canonical fields inside the data are lifted; a custom activity keeps its data whole,
    and may have none.
    """
    data = {} if data is None else data
    if not isinstance(data, dict):
        return Rejected(Reason.SCHEMA, "the data of a CloudEvent must be an object")
    type_, time = attributes.get("type"), attributes.get("time")
    if time is None:
        if broker_time is None:
            return Rejected(Reason.SCHEMA, "a CloudEvent without time, and no broker timestamp to take instead")
        time = rfc3339(broker_time)
    contact = data.get("contact") or attributes.get("subject")
    if contact is None:
        return Rejected(Reason.NO_CONTACT, "neither data.contact nor subject")
    known = type_ in EMAIL_TYPES or type_ in CONTACT_TYPES
    fields = data if known else {"data": data}
    identity = {"id": attributes.get("id"), "type": type_, "occurred_at": time, "contact": contact}
    try:
        return msgspec.convert(_without_nulls({**fields, **identity}), Event)
    except msgspec.ValidationError as error:
        return Rejected(Reason.SCHEMA, _where(error))


def _checked(event: Event, broker_time: int | None) -> Incoming | Rejected:
    contact = event.contact
    if not contact or contact.isspace():
        return Rejected(Reason.NO_CONTACT, "contact is empty")
    if len(contact.encode()) > ID_LIMIT or "\x00" in contact:
        return Rejected(Reason.NO_CONTACT, f"contact is longer than {ID_LIMIT} bytes or holds a NUL")
    if not event.id or len(event.id) > ID_LIMIT:
        return Rejected(Reason.SCHEMA, f"id must have 1 to {ID_LIMIT} characters")
    if "." not in event.type or len(event.type) > ID_LIMIT:
        return Rejected(Reason.SCHEMA, "type must be a name with a dot, such as order.completed")
    try:
        at = parse_rfc3339(event.occurred_at)
    except (ValueError, OverflowError):
        return Rejected(Reason.SCHEMA, "occurred_at is not an RFC 3339 time with a zone, of the years 1 to 9999")
    if at < OLDEST:
        return Rejected(Reason.IMPLAUSIBLE_TIME, "occurred_at lies before the year 2000")
    if broker_time is not None and at > broker_time:
        if at > broker_time + AHEAD_LIMIT:
            return Rejected(Reason.IMPLAUSIBLE_TIME, "occurred_at lies more than 24 h ahead of the broker timestamp")
        at = broker_time
    return Incoming(event, at)


def _schema_rejection(value: bytes, error: msgspec.ValidationError) -> Rejected:
    """Why a well-formed value is no event: a missing contact has a reason of its own."""
    try:
        body = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        return Rejected(Reason.UNDECODABLE, _where(broken))
    if isinstance(body, dict) and body.get("contact") is None:
        return Rejected(Reason.NO_CONTACT, "contact is missing")
    return Rejected(Reason.SCHEMA, _where(error))


def _where(error: Exception) -> str:
    """The decoder's words on type and place; it quotes no value of the payload."""
    return str(error).split("\n", 1)[0]
