"""Bytes of a body to its parts, bounded before anything is parsed (providers.md 5.3 and 6)."""

from __future__ import annotations

from typing import Any

import msgspec

from stagepost.events import Reason, Rejected

BODY_LIMIT = 8 << 20
"""Bytes of one body: ten times what SendGrid sends at most."""

DEPTH_LIMIT = 32

PART_LIMIT = 10_000
"""Parts of one body: an order of magnitude above the largest documented batch (1,000)."""

_BOM = b"\xef\xbb\xbf"


def json_parts(body: bytes) -> list[Any] | Rejected:
    """Elements of a JSON array, or the one object as a list; empty for an empty body."""
    if len(body) > BODY_LIMIT:
        return Rejected(Reason.OVERSIZE, f"{len(body)} bytes, more than {BODY_LIMIT}")
    text = body.removeprefix(_BOM).strip()
    if not text:
        return []
    if too_deep(text, DEPTH_LIMIT):
        return Rejected(Reason.OVERSIZE, f"nested deeper than {DEPTH_LIMIT}")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected(Reason.UNDECODABLE, str(error).split("\n", 1)[0])
    parts = value if isinstance(value, list) else [value]
    if len(parts) > PART_LIMIT:
        return Rejected(Reason.OVERSIZE, f"{len(parts)} parts, more than {PART_LIMIT}")
    return parts


def too_deep(value: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than ``limit`` outside strings; cheap for a value with few brackets."""
    if value.count(b"{") + value.count(b"[") <= limit:
        return False
    depth = 0
    in_string = escaped = False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x7B, 0x5B):
            depth += 1
            if depth > limit:
                return True
        elif byte in (0x7D, 0x5D):
            depth -= 1
    return False
