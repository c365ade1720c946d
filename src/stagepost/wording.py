"""Words that every part uses when it speaks to people. May not contain: what only one part says."""

from __future__ import annotations


def counted(n: int, thing: str) -> str:
    """
    >>> counted(1, "line"), counted(1200, "line")
    ('1 line', '1,200 lines')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
