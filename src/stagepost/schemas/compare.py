"""Whether a schema may take the place of another: what was valid stays valid, and what is written stays readable.

Law: no complaint only if every document of the one is a document of the other, as far as the keywords go that the
schemas here use; where it cannot tell it complains. Fields that one adds beside those of an open other are taken
to be absent there.
May not contain: reading of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_AT_MOST = ("maximum", "maxLength", "maxItems", "maxProperties")
_AT_LEAST = ("minimum", "minLength", "minItems", "minProperties")
_SAME = ("pattern", "not", "dependentRequired", "propertyNames")
"""Keywords that are compared for being equal."""


def changes(old: Schema, new: Schema, *, is_record: bool) -> list[str]:
    """Why ``new`` cannot take the place of ``old``, with places in it; empty when it can.

    Files of people must stay valid. Records must stay valid too (they lie on topics), and must stay what their readers
    know: no field gone, nothing that the old schema would refuse.
    """
    found = [f"{place}: {what}" for place, what in _Fit(old, new).run()]
    if is_record:
        found += [f"{place}: {what}, for readers" for place, what in _Fit(new, old).run()]
        found += [f"{place}: is gone" for place in sorted(_fields(old) - _fields(new))]
    return list(dict.fromkeys(found))


def channel_changes(old: Schema, new: Schema) -> list[str]:
    """Why one AsyncAPI document cannot take the place of another, payloads apart: those are compared as schemas."""
    found = []
    for name, channel in old.get("channels", {}).items():
        now = new.get("channels", {}).get(name)
        if now is None or now.get("address") != channel.get("address"):
            found.append(f"/channels/{name}: is gone")
    found += [f"/operations/{name}: is gone" for name in old.get("operations", {}) if name not in new["operations"]]
    return found


class _Fit:
    """Whether every document of one schema is a document of another."""

    def __init__(self, inner: Schema, outer: Schema) -> None:
        self._inner, self._outer = inner, outer
        self._under_way: set[tuple[str, str]] = set()

    def run(self) -> Iterator[tuple[str, str]]:
        return self._fit("/", self._inner, self._outer)

    def _fit(self, place: str, a: Schema, b: Schema) -> Iterator[tuple[str, str]]:
        names = (str(a.get("$ref", "")), str(b.get("$ref", "")))
        if all(names):
            if names in self._under_way:
                return
            self._under_way.add(names)
        a, b = _resolved(self._inner, a), _resolved(self._outer, b)
        if "anyOf" not in a and "anyOf" not in b:
            yield from self._fit_one(place, a, b)
            return
        ways = b.get("anyOf", [b])
        for way in a.get("anyOf", [a]):
            faults = [list(self._alone(place, way, other)) for other in ways]
            if all(faults):
                yield min(faults, key=len)[0] if len(ways) == 1 else (place, f"{_name(way)} is not allowed")

    def _alone(self, place: str, a: Schema, b: Schema) -> Iterator[tuple[str, str]]:
        """A try among alternatives: what it took for granted holds only if it succeeds."""
        before = set(self._under_way)
        faults = list(self._fit(place, a, b))
        if faults:
            self._under_way = before
        yield from faults

    def _fit_one(self, place: str, a: Schema, b: Schema) -> Iterator[tuple[str, str]]:
        if not (kinds := _types(a)) <= (allowed := _types(b)):
            yield place, f"{' or '.join(sorted(kinds - allowed))} is not allowed"
            return
        if (values := _values(b)) is not None:
            for value in _values(a) or ["any value"]:
                if value not in values:
                    yield place, f"{value!r} is not allowed"
        for key in _AT_MOST:
            if key in b and a.get(key, float("inf")) > b[key]:
                yield place, f"{key} is {b[key]}"
        for key in _AT_LEAST:
            if key in b and a.get(key, float("-inf")) < b[key]:
                yield place, f"{key} is {b[key]}"
        for key in _SAME:
            if key in b and a.get(key) != b[key]:
                yield place, f"{key} is {b[key]}"
        if "object" in kinds:
            yield from self._fit_objects(place, a, b)
        if "array" in kinds:
            yield from self._fit_arrays(place, a, b)

    def _fit_objects(self, place: str, a: Schema, b: Schema) -> Iterator[tuple[str, str]]:
        for key in b.get("required", ()):
            if key not in a.get("required", ()):
                yield f"{place}{key}", "is required"
        known, rest = b.get("properties", {}), b.get("additionalProperties", True)
        for key, value in a.get("properties", {}).items():
            if key in known:
                yield from self._fit(f"{place}{key}/", value, known[key])
            elif rest is False:
                yield f"{place}{key}", "is not known"
        others = a.get("additionalProperties", True)
        if others is not False and rest is False:
            yield place, "other keys are not allowed"
        elif isinstance(rest, Mapping) and others is not False:
            yield from self._fit(f"{place}*/", others if isinstance(others, Mapping) else {}, rest)

    def _fit_arrays(self, place: str, a: Schema, b: Schema) -> Iterator[tuple[str, str]]:
        if "items" in b:
            yield from self._fit(f"{place}*/", a.get("items", {}), b["items"])
        for number, item in enumerate(b.get("prefixItems", ())):
            given = a.get("prefixItems", ())
            yield from self._fit(f"{place}{number}/", given[number] if number < len(given) else {}, item)


_ALL_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})


def _types(schema: Schema) -> frozenset[str]:
    given = schema.get("type")
    if given is None:
        return _ALL_TYPES
    types = frozenset([given] if isinstance(given, str) else given)
    return types | {"integer"} if "number" in types else types


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return list(values) if values is not None else None


def _resolved(root: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = root.get("$defs", {}).get(name, {})
    return schema


def _name(schema: Schema) -> str:
    """One alternative in a word."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return repr(schema["const"]) if "const" in schema else str(schema.get("type", "anything"))


def _fields(root: Schema) -> set[str]:
    """Paths of all named fields, each definition once."""
    found: set[str] = set()

    def walk(place: str, schema: Schema, inside: tuple[str, ...]) -> None:
        name = str(schema.get("$ref", ""))
        if name in inside:
            return
        inside = (*inside, name) if name else inside
        schema = _resolved(root, schema)
        for key, value in schema.get("properties", {}).items():
            found.add(f"{place}{key}")
            walk(f"{place}{key}/", value, inside)
        for part in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
            if isinstance(part, Mapping):
                walk(place, part, inside)

    walk("/", root, ())
    return found
