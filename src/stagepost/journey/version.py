"""The version of a journey: a hash of its meaning, so that comments, key order and spelling do not change it."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from stagepost.journey.definition import Journey, Position

_WITHOUT_MEANING = frozenset({"version", "title", "tests", "source", "text", "path", "position"})


def version_of(journey: Journey) -> str:
    """Eight hex digits. Order matters where the language says so (stages, setbacks, exits), else it does not."""
    meaning = _meaning(journey)
    meaning["links"].sort(key=lambda link: link["name"])
    for unordered in ("sends", "labels"):
        meaning[unordered].sort()
    return hashlib.sha256(msgspec.json.encode(meaning, order="deterministic")).hexdigest()[:8]


def _meaning(value: Any) -> Any:
    """Plain data that says what ``value`` means; the kind of a condition is part of it."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f.name for f in fields(value) if f.name not in _WITHOUT_MEANING]
        return {"kind": type(value).__name__} | {name: _meaning(getattr(value, name)) for name in kept}
    if isinstance(value, tuple):
        return [_meaning(item) for item in value if not isinstance(item, Position)]
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return f"int {value}"
    return value
