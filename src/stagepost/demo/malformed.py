"""Records that nobody can read, one of each kind, with the reason that their dead letter must carry.

Pure. Each must become exactly one dead letter, and its neighbours must not notice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from stagepost.demo.bodies import Mail, postmark_delivery, sendgrid_event
from stagepost.engine.plan import Topic
from stagepost.events import DAY, Reason, rfc3339


@dataclass(frozen=True, slots=True)
class Malformed:
    """``provider``: what the header says, for ``email.raw`` only. ``parts``: good and bad ones of the body."""

    kind: str
    reason: Reason
    topic: Topic
    value: bytes
    provider: str | None = None
    parts: int = 1


def malformed(mail: Mail, at: int, number: int) -> tuple[Malformed, ...]:
    """One record of each kind about ``mail`` at ``at``; ``number`` makes ids unique."""
    delivered = sendgrid_event(mail, "delivered", at)
    anonymous = {key: value for key, value in delivered.items() if key not in ("email", "contact_id")}
    ancient = sendgrid_event(mail, "open", 0)
    good = [sendgrid_event(mail, "click", at, url=f"https://example.com/blog/{number}")]
    activity = {
        "id": f"malformed-{number}",
        "type": "order.completed",
        "occurred_at": rfc3339(at),
        "contact": mail.contact,
        "data": {"total": 49},
    }
    nobody = {key: value for key, value in activity.items() if key != "contact"}
    deep = b"[" * 40 + b"]" * 40
    return (
        _raw("cut JSON", Reason.UNDECODABLE, "sendgrid", _json([delivered])[:-20]),
        _raw("unknown provider", Reason.UNKNOWN_PROVIDER, "carrierpigeon", _json([delivered])),
        _raw("no address and no contact", Reason.NO_CONTACT, "sendgrid", _json([*good, anonymous]), parts=2),
        _raw("time before 2000", Reason.IMPLAUSIBLE_TIME, "sendgrid", _json([ancient])),
        _raw("a body of nothing known", Reason.SCHEMA, "postmark", b"{}"),
        _raw("no JSON", Reason.UNDECODABLE, "postmark", b"RecordType=Delivery&MessageID=1"),
        _raw("invalid UTF-8", Reason.UNDECODABLE, "postmark", _json(postmark_delivery(mail, at)) + b"\xff\xfe"),
        _event("cut JSON", Reason.UNDECODABLE, _json(activity)[:-9]),
        _event("NaN", Reason.UNDECODABLE, _json(activity).replace(b":49", b":NaN")),
        _event("no contact", Reason.NO_CONTACT, _json(nobody)),
        _event("time that is no text", Reason.SCHEMA, _json(activity | {"occurred_at": at})),
        _event("type without a dot", Reason.SCHEMA, _json(activity | {"type": "order"})),
        _event("far ahead", Reason.IMPLAUSIBLE_TIME, _json(activity | {"occurred_at": rfc3339(at + 100 * DAY)})),
        _event("too deep", Reason.OVERSIZE, _json(activity).replace(b":49", b":" + deep)),
    )


def _raw(kind: str, reason: Reason, provider: str, value: bytes, parts: int = 1) -> Malformed:
    return Malformed(kind, reason, Topic.RAW, value, provider, parts)


def _event(kind: str, reason: Reason, value: bytes) -> Malformed:
    return Malformed(kind, reason, Topic.EVENTS, value)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
