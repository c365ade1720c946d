"""Single values out of payloads whose types vary: text, numbers, truth values, metadata. Nothing here raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stagepost.events import Rejected
from stagepost.normalise.bodies import json_parts


def text(value: Any) -> str | None:
    """A non-empty string, a number as its digits, a truth value as JSON has it; None for everything else."""
    if value is None:
        return None  # most fields of most parts: asked first, it takes a third off
    if value.__class__ is str or isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return None


def raw(value: Any) -> str:
    """Text of a part of an id: "" when absent."""
    return text(value) or ""


def integer(value: Any) -> int | None:
    """A whole number, also one written as text; None beyond 64 bits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.strip().lstrip("-").isascii() and value.strip().lstrip("-").isdigit():
        value = int(value) if len(value) < 30 else None
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return value
    return None


def boolean(value: Any) -> bool | None:
    """A truth value, also written as text or as 0 and 1."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one in its place: some providers send ``[]`` for an empty object."""
    return value if isinstance(value, dict) else {}


def strings(value: Any) -> tuple[str, ...]:
    """A list of texts, also where a single text stands for a list of one."""
    if isinstance(value, str):
        only = value.strip()
        return (only,) if only else ()
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    return tuple([found for item in items if (found := text(item)) is not None])


def embedded(value: Any) -> Any:
    """The JSON object or array that a text holds; None where it holds none, or one too deep to be meant."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return None
    found = json_parts(value.encode("utf-8", "replace"))
    if isinstance(found, Rejected) or any(isinstance(part, Rejected) for part in found):
        return None
    return found if value.lstrip().startswith("[") else found[0] if len(found) == 1 else None


def size_of(value: str) -> int:
    """Bytes of UTF-8."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))


def shortened(value: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, whole characters."""
    if len(value) * 4 <= limit:
        return value
    encoded = value.encode("utf-8", "replace")
    return value if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def metadata_value(value: Any) -> str:
    """Metadata values are strings; others become compact JSON text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def id_text(value: Any, limit: int) -> str | None:
    """An id that may become a key: non-empty text of at most ``limit`` bytes without NUL."""
    found = value.strip() if value.__class__ is str else text(value)
    if not found or "\x00" in found:
        return None
    return found if len(found) * 4 <= limit or size_of(found) <= limit else None


def unbracketed(value: Any) -> str | None:
    """A message id without ``<>``."""
    found = text(value)
    return found.strip("<>").strip() or None if found is not None else None


def metadata_text(value: Any, name: str) -> Mapping[str, Any]:
    """Metadata that travels as one text: of a JSON object its members, any other text under ``name``."""
    found = value if isinstance(value, dict) else embedded(value)
    if isinstance(found, dict):
        return found
    told = text(value)
    return {name: told} if told is not None else {}


def positive(value: Any) -> str | None:
    """An id that is absent when it is 0 or below."""
    number = integer(value)
    return str(number) if number is not None and number > 0 else None
