"""Durations as a journey file writes them: ``90s 15m 48h 14d 2w``."""

from __future__ import annotations

import re

from stagepost.events import DAY, HOUR, MICROS, MINUTE

_UNITS = {"s": MICROS, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_FORM = re.compile(r"([0-9]{1,9})([smhdw])")
_SPELT = re.compile(
    r"([0-9]{1,9})\s*(s|sec|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)", re.IGNORECASE
)
"""How others write them; the first letter is the unit."""

LONGEST = 3_650 * DAY
"""Ten years: no journey waits longer, and every sum of times stays far inside 64 bits."""


def parse_duration(text: str) -> int:
    """Micros of a duration. Raises ValueError with what is expected.

    >>> parse_duration("90s"), parse_duration("2w") == 14 * DAY
    (90000000, True)
    """
    found = _FORM.fullmatch(text)
    if found is None:
        spelt = _SPELT.fullmatch(text.strip())
        meant = f" (did you mean {int(spelt[1])}{spelt[2][0].lower()}?)" if spelt else ""
        raise ValueError(f"expected a duration such as 90s, 15m, 48h, 14d or 2w{meant}")
    span = int(found[1]) * _UNITS[found[2]]
    if span > LONGEST:
        raise ValueError("a duration is at most 3650d")
    return span


def duration_text(span: int) -> str:
    """The shortest exact way to write ``span``.

    >>> duration_text(48 * HOUR), duration_text(14 * DAY), duration_text(MICROS // 2)
    ('2d', '2w', '0.5s')
    """
    if not span:
        return "0d"
    for unit, size in reversed(_UNITS.items()):
        if span % size == 0:
            return f"{span // size}{unit}"
    return f"{span / MICROS:g}s"
