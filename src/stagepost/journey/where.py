"""``where``: tests on the fields of one event, and globs for campaigns and ids (journeys.md 1 and 2).

A path is looked up in ``data``, then ``metadata``, then the event's own fields; the first place that has it wins, and a
null counts as missing. A missing field or a value of another kind makes every test but ``exists: false`` false.
May not contain: what a match means. Nothing here raises on any event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import re2
from msgspec import UNSET, Struct

from stagepost.events import Event
from stagepost.journey.definition import Scalar, Test

Matcher = Callable[[Event], bool]
TextMatcher = Callable[[str], bool]

_OWN = {
    name: attribute for attribute, name in zip(Event.__struct_fields__, Event.__struct_encode_fields__, strict=True)
}


def compile_where(tests: Sequence[Test]) -> Matcher | None:
    """One function for all tests together; None when there is nothing to test."""
    checks = tuple((_lookup(test.path), _check(test)) for test in tests)
    if not checks:
        return None
    if len(checks) == 1:
        (find, passes) = checks[0]
        return lambda event: passes(find(event))
    return lambda event: all(passes(find(event)) for find, passes in checks)


def compile_glob(pattern: str) -> TextMatcher:
    """``*`` stands for any text, everything else for itself; case-sensitive, the whole text."""
    if "*" not in pattern:
        return pattern.__eq__
    prefix, _, rest = pattern.partition("*")
    if not rest:
        return lambda text: text.startswith(prefix)
    regex = re2.compile(glob_regex(pattern))
    return lambda text: regex.fullmatch(text.encode("utf-8", "surrogatepass")) is not None


def compile_globs(patterns: Sequence[str]) -> TextMatcher:
    """Whether a text matches one of the patterns; remembers the answers, because a journey's campaigns are few."""
    matchers = tuple(map(compile_glob, patterns))

    @lru_cache(maxsize=1024)
    def matches(text: str) -> bool:
        return any(matcher(text) for matcher in matchers)

    return matches


def glob_regex(pattern: str) -> bytes:
    """The RE2 expression, for bytes, of a glob."""
    return b"(?s)" + b".*".join(re2.escape(part.encode("utf-8", "surrogatepass")) for part in pattern.split("*"))


def lookup(event: Event, path: str) -> Any:
    """The value at a dotted path, None when no place has it."""
    return _lookup(path)(event)


def _lookup(path: str) -> Callable[[Event], Any]:
    keys = tuple(path.split("."))
    own, _, rest = path.partition(".")
    below = keys[1:]
    attribute = _OWN.get(own)

    def find(event: Event) -> Any:
        for place in (event.data, event.metadata):
            if place and (value := _walk(place, path, keys)) is not None:
                return value
        if attribute is None:
            return None
        value = getattr(event, attribute)
        if below and isinstance(value, dict):  # data.total, metadata.plan
            return _walk(value, rest, below)
        for key in below:
            value = getattr(value, key, None) if isinstance(value, Struct) else None
        return None if value is UNSET else value

    return find


def _walk(place: dict[str, Any], path: str, keys: tuple[str, ...]) -> Any:
    """A key that itself holds the dots is found too: providers flatten what senders nest."""
    value = place.get(path)
    if value is not None or len(keys) == 1:
        return value
    value = place
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _kind(value: Any) -> type | None:
    """Booleans are not numbers; lists and objects compare with nothing."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _check(test: Test) -> Callable[[Any], bool]:
    if test.operator == "exists":
        wanted = bool(test.value)
        return lambda found: (found is not None) == wanted
    if test.operator == "in":
        options = test.value if isinstance(test.value, tuple) else (test.value,)
        known = {(_kind(option), option) for option in options}
        return lambda found: (kind := _kind(found)) is not None and (kind, found) in known
    if isinstance(test.value, tuple):
        raise ValueError(f"operator {test.operator} takes one value")
    return _compare(test.operator, test.value)


def _compare(operator: str, value: Scalar) -> Callable[[Any], bool]:
    kind = _kind(value)
    if operator == "prefix":
        prefix = str(value)
        return lambda found: isinstance(found, str) and found.startswith(prefix)
    if operator == "matches":
        regex = re2.compile(str(value).encode("utf-8", "surrogatepass"))
        return lambda found: isinstance(found, str) and regex.search(found.encode("utf-8", "surrogatepass")) is not None
    if operator == "eq":
        return lambda found: _kind(found) is kind and found == value
    if operator == "ne":
        return lambda found: _kind(found) is kind and found != value
    if kind is bool:
        return lambda found: False
    orders: dict[str, Callable[[Any], bool]] = {
        "gt": lambda found: _kind(found) is kind and found > value,
        "ge": lambda found: _kind(found) is kind and found >= value,
        "lt": lambda found: _kind(found) is kind and found < value,
        "le": lambda found: _kind(found) is kind and found <= value,
    }
    return orders[operator]
