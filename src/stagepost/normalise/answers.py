"""Answers of receiving servers, taken apart: reply code, enhanced status code (RFC 3463), text."""

from __future__ import annotations

import re
from typing import Any

from stagepost.events import Smtp
from stagepost.normalise import values

_ANSWER = re.compile(r"\s*(?:smtp;\s*|sent \()?(?:([2-5]\d\d)(?![\d.])[ -]?)?([245]\.\d{1,3}\.\d{1,3})?")
"""An answer begins with its code; before it stands at most the mail system (``smtp;``) or Mailjet's ``sent (``."""


def smtp(told: Any, *, code: Any = None, enhanced: Any = None) -> Smtp | None:
    """``told`` is the answer's text; ``code`` and ``enhanced`` where the provider gives them apart. None: no answer."""
    text, status = values.text(told), values.text(enhanced)
    number = values.integer(code)
    found = _ANSWER.match(text) if text is not None else None
    if found is not None:
        number = int(found[1]) if number is None and found[1] is not None else number
        status = status or found[2]
    if number is not None and not 200 <= number < 600:
        number = None
    return Smtp(number, status, text) if text is not None or status is not None or number is not None else None


def is_temporary(answer: Smtp | None) -> bool:
    """Whether the server said: try again later."""
    if answer is None:
        return False
    if answer.code is not None:
        return 400 <= answer.code < 500
    return answer.enhanced is not None and answer.enhanced.startswith("4.")
