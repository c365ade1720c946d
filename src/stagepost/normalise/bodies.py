"""Bytes of a body to its parts, bounded before anything is parsed (providers.md 5.3 and 6).

A part that cannot be read stands among its neighbours as ``Rejected``. May not contain: a provider's field names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from stagepost.events import Reason, Rejected
from stagepost.normalise.limits import LIMITS, Limits

_BOM = b"\xef\xbb\xbf"

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""JSON strings. The closing quote is optional and nothing is tried twice, so that no input takes more than one pass."""

_TOKENS = re.compile(_STRINGS.pattern + rb"|[{}\[\]]", re.DOTALL)

_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_NEITHER_BRACKETS_NOR_QUOTES = bytes(set(range(256)) - set(b'{}[]"'))

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile(
    rb"(?P<kept>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u])|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)
"""Half a character, as left by a sender that cuts text by UTF-16 units; pairs and other escapes are ``kept``."""

_FORM = re.compile(rb"[\w.%+\[\]-]{1,200}=", re.ASCII)
_BOUNDARY = re.compile(rb"--([^\r\n]{1,200}?)[ \t]*\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_FIELD_NAME = re.compile(rb'(?:^|[;\s])name="([^"]*)"', re.IGNORECASE)

_elements = msgspec.json.Decoder(list[msgspec.Raw])


class Form(Struct, frozen=True):
    """Fields of a form post in the order of the body, as bytes: a signature may cover them."""

    fields: tuple[tuple[bytes, bytes], ...]

    def texts(self) -> dict[str, list[str]]:
        """All values of each name, as text."""
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            found.setdefault(name.decode("utf-8", "replace"), []).append(value.decode("utf-8", "replace"))
        return found


def json_parts(body: bytes, limits: Limits = LIMITS) -> list[Any] | Rejected:
    """Elements of a JSON array, or the one object as a list; several values one per line or in a row; empty for an
    empty body. An element that cannot be decoded alone is a ``Rejected`` in its place."""
    text = readable(body, limits)
    if isinstance(text, Rejected):
        return text
    if not text:
        return []
    value = _decoded(text)
    if isinstance(value, Rejected) and value.reason == Reason.UNDECODABLE:
        several = _several(text, limits.parts)
        value = value if several is None else several
    if isinstance(value, Rejected) and value.reason != Reason.SCHEMA:
        return value
    parts = value if isinstance(value, list) else [value]
    if len(parts) > limits.parts:
        return Rejected(Reason.OVERSIZE, f"{len(parts)} parts, more than {limits.parts}")
    return parts


def readable(body: bytes, limits: Limits = LIMITS) -> bytes | Rejected:
    """The text of a body within its limits, without byte-order mark and surrounding space."""
    if len(body) > limits.body_bytes:
        return Rejected(Reason.OVERSIZE, f"{len(body)} bytes, more than {limits.body_bytes}")
    text = body.removeprefix(_BOM).strip()
    if too_deep(text, limits.depth):
        return Rejected(Reason.OVERSIZE, f"nested deeper than {limits.depth}")
    return text


def _decoded(text: bytes) -> Any:
    """The value; ``schema`` where it is JSON with something in it that has no value here."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _decoded_apart(text, error)


def _decoded_apart(text: bytes, error: Exception) -> Any:
    """What can be saved of a text with half a character or a number beyond all bounds: only that element is lost."""
    undecodable = Rejected(Reason.UNDECODABLE, str(error).split("\n", 1)[0])
    if isinstance(error, UnicodeDecodeError | RecursionError):
        return undecodable
    mended = _LONE_SURROGATE.sub(lambda found: found["kept"] or rb"\ufffd", text) if _SURROGATE.search(text) else text
    try:
        mended.decode()
        if not mended.startswith(b"["):
            return msgspec.json.decode(mended)
        return [_element(bytes(raw)) for raw in _elements.decode(mended)]
    except msgspec.ValidationError as beyond:
        return Rejected(Reason.SCHEMA, str(beyond).split("\n", 1)[0])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return undecodable


def _element(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejected(Reason.SCHEMA, str(error).split("\n", 1)[0])


def _several(text: bytes, limit: int) -> list[Any] | None:
    """Values one per line, or written in a row; None where the text is neither."""
    if not text.startswith(b"{"):
        return None
    lines = [line for line in text.splitlines() if line.strip()][: limit + 1]
    values = [_decoded(line.strip()) for line in lines]
    # A complete object that is not indented: no line of one broken document looks like that.
    if any(line.startswith(b"{") and isinstance(value, dict) for line, value in zip(lines, values, strict=True)):
        return [part for line, value in zip(lines, values, strict=True) for part in _line(line.strip(), value, limit)]
    return _in_a_row(text, limit)


def _line(line: bytes, value: Any, limit: int) -> list[Any]:
    return (_in_a_row(line, limit) or [value]) if isinstance(value, Rejected) else [value]


def _in_a_row(text: bytes, limit: int) -> list[Any] | None:
    """Objects written one after another without a separator; a cut-off last one is rejected alone."""
    pieces: list[Any] = []
    depth = begin = 0
    for token in _TOKENS.finditer(text):
        mark = text[token.start()]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0:
                pieces.append(_decoded(text[begin : token.end()]))
                begin = token.end()
                if len(pieces) > limit:
                    break
    rest = text[begin:].strip()
    if not pieces or (rest and not rest.startswith(b"{")) or not any(isinstance(piece, dict) for piece in pieces):
        return None
    return [*pieces, _decoded(rest)] if rest else pieces if len(pieces) > 1 else None


def form_of(body: bytes, content_type: str = "", limits: Limits = LIMITS) -> Form | Rejected | None:
    """The fields of an urlencoded or multipart form; None when the body is no form.

    The body itself tells; ``content_type`` gives only the boundary of a multipart form, and even that may be missing.
    """
    if len(body) > limits.body_bytes:
        return Rejected(Reason.OVERSIZE, f"{len(body)} bytes, more than {limits.body_bytes}")
    text = body.removeprefix(_BOM).lstrip()
    if text.startswith(b"--"):
        found = _BOUNDARY.match(text)
        return _bounded(_multipart(text, found[1]), limits.parts) if found is not None else None
    urlencoded = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    if text[:1] in (b"{", b"[") or not (urlencoded or _FORM.match(text)):
        return None
    return _bounded(_urlencoded(text.rstrip(b"\r\n")), limits.parts)


def _bounded(fields: Iterator[tuple[bytes, bytes]], limit: int) -> Form | Rejected:
    kept: list[tuple[bytes, bytes]] = []
    for field in fields:
        if len(kept) == limit:
            return Rejected(Reason.OVERSIZE, f"more than {limit} form fields")
        kept.append(field)
    return Form(tuple(kept))


def _urlencoded(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pair in text.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            yield unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" "))


def _multipart(text: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Fields with a name; attached files are left out."""
    ends = re.finditer(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(?:(?P<last>--)|[ \t]*\r?\n)", text)
    begin = next(ends).end()
    for end in ends:
        head, *value = _END_OF_HEAD.split(text[begin : end.start()], maxsplit=1)
        name = _FIELD_NAME.search(head)
        if value and name is not None and b"filename=" not in head.lower():
            yield name[1], value[0]
        if end["last"]:
            return
        begin = end.end()


def too_deep(value: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than ``limit`` outside strings; cheap for a value with few brackets."""
    if value.count(b"{") + value.count(b"[") <= limit or _surely_flat(value, limit):
        return False
    depth = 0
    for bracket in _STRINGS.sub(b"", value).translate(None, _NOT_BRACKETS):
        if bracket in b"{[":
            depth += 1
            if depth > limit:
                return True
        else:
            depth -= 1
    return False


def _surely_flat(value: bytes, limit: int) -> bool:
    """Whether brackets are seen to nest no deeper than ``limit``, in a tenth of the time that it takes to be exact.

    True is certain of JSON; anything else fails to be decoded. False: look closer.
    """
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Of a string without brackets two quotes are left, of several in a row as well: what stays has brackets within.
    rest = value.translate(None, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    if b'"' in rest:
        return False
    for _ in range(limit // 2):  # each turn takes away two levels at most
        if not rest:
            return True
        rest = rest.replace(b"{}", b"").replace(b"[]", b"")
    return not rest
