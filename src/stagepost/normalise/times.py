"""Times as providers write them, to micros, with the precision that they had."""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec import Struct

from stagepost.events import DAY, MICROS, Reason, Rejected, parse_rfc3339, rfc3339

Precision = Literal["s", "ms", "us", "assumed", "clamped"]

OLDEST = parse_rfc3339("2000-01-01T00:00:00Z")
AHEAD = DAY
"""Up to this far ahead of ``received_at`` is clock skew and clamped; more is a mistake (experience.md 3)."""

_YEAR_10000 = parse_rfc3339("9999-12-31T00:00:00Z") + DAY

_MILLISECONDS_FROM = 100_000_000_000
"""Unix seconds beyond 1e11 lie in the year 5138: the number is in milliseconds (SendGrid's Single Send sample)."""

_ABSURD = 1e15
"""Beyond any year, in seconds or milliseconds; far enough to be implausible, small enough to count with."""

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?")


class Moment(Struct, frozen=True, gc=False):
    """When something happened, micros, and how exactly that is known."""

    at: int
    precision: Precision


def unix(value: Any) -> Moment | None:
    """Unix seconds, or milliseconds from 1e11 on; a number or its text."""
    if value.__class__ is int and 0 <= value < _MILLISECONDS_FROM:
        return Moment(value * MICROS, "s")
    if isinstance(value, str):
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    value = max(-_ABSURD, min(_ABSURD, value))
    if abs(value) >= _MILLISECONDS_FROM:
        return Moment(round(value * 1000), "ms")
    return Moment(round(value * MICROS), "s" if value == int(value) else "us")


def iso(value: Any) -> Moment | None:
    """ISO 8601 with one to nine fraction digits (Postmark sends seven); without a zone it is UTC.

    A zone may lack its minutes: a Postgres of Resend's writes ``+00``.
    """
    found = _ISO.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 64 else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    zone = "Z" if zone in (None, "Z", "z") else f"{zone[:3]}:{zone[3:][-2:] or '00'}"
    digits = (fraction or "")[:6]
    try:
        at = parse_rfc3339(f"{day}T{clock}{'.' + digits if digits else ''}{zone}")
    except (ValueError, OverflowError):
        return None
    return Moment(at, "s" if not digits else "ms" if len(digits) <= 3 else "us")


def utc_day(moment: Moment | None) -> str:
    """``2026-11-02``; "" when unknown or outside the years that have a date."""
    return rfc3339(moment.at)[:10] if moment is not None and 0 <= moment.at < _YEAR_10000 else ""


def plausible(moment: Moment | None, received_at: int) -> Moment | Rejected:
    """The moment as it may stand on an event: assumed when missing, clamped when a little ahead."""
    if moment is None:
        return Moment(received_at, "assumed")
    if moment.at < OLDEST:
        return Rejected(Reason.IMPLAUSIBLE_TIME, "the event's time lies before the year 2000")
    if moment.at > received_at + AHEAD:
        return Rejected(Reason.IMPLAUSIBLE_TIME, "the event's time lies more than 24 h ahead of received_at")
    return Moment(received_at, "clamped") if moment.at > received_at else moment
