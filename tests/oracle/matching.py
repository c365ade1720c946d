"""What one event matches: globs, links and ``where``, by the words of journeys.md section 2."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import unquote

import re2

MISSING = object()


@cache
def glob(pattern: str, text: str | None) -> bool:
    """Only ``*``, case-sensitive, whole text."""
    if text is None:
        return False
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None


@cache
def link(pattern: str, url: str | None) -> bool:
    if url is None:
        return False
    (host, path, query), (its_host, its_path, its_query) = _parts(pattern), _parts(url)
    if not its_host or not _host(host, its_host) or not _path(path, its_path):
        return False
    return all(pair in its_query for pair in query)


def _parts(url: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    rest = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", url).split("#")[0]
    rest, _, query = rest.partition("?")
    host, _, path = rest.partition("/")
    host = re.sub(r":(80|443)$", "", host.rpartition("@")[2].lower())
    pairs = [tuple(unquote(half) for half in pair.partition("=")[::2]) for pair in query.split("&") if pair]
    segments = path.removesuffix("/").split("/") if path.removesuffix("/") else []
    return host, segments, [pair for pair in pairs if not pair[0].startswith("utm_")]  # type: ignore[misc]


def _host(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern[1:])
    return pattern == host


def _path(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_path(pattern[1:], path[n:]) for n in range(len(path) + 1))
    return bool(path) and glob(unquote(pattern[0]), unquote(path[0])) and _path(pattern[1:], path[1:])


def look_up(event: dict[str, Any], path: str) -> Any:
    """The value at the dotted path in ``data``, then ``metadata``, then the event; null is missing everywhere."""
    for place in (event.get("data") or {}, event.get("metadata") or {}, event):
        value: Any = place
        for key in path.split("."):
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING and value is not None:
            return value
    return MISSING


def passes(event: dict[str, Any], path: str, operator: str, wanted: Any) -> bool:
    value = look_up(event, path)
    if operator == "exists":
        return (value is not MISSING) == wanted
    if value is MISSING:
        return False
    if operator == "in":
        return any(_kind(value) == _kind(one) and value == one for one in wanted)
    if operator == "prefix":
        return isinstance(value, str) and value.startswith(wanted)
    if operator == "matches":
        return isinstance(value, str) and re2.search(wanted, value) is not None
    if _kind(value) is None or _kind(value) != _kind(wanted):
        return False
    if operator in ("eq", "ne"):
        return (value == wanted) == (operator == "eq")
    if isinstance(value, bool):
        return False
    return {"gt": value > wanted, "ge": value >= wanted, "lt": value < wanted, "le": value <= wanted}[operator]


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else None
