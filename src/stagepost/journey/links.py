"""Where a click leads: ``host/path`` globs, all of them in one RE2 set (journeys.md 2, Links, and 3.1).

A URL and a pattern are brought into the same form first: host in lower case without default port, path segments
percent-decoded one by one, so that an encoded slash stays inside its segment. Scheme, user, fragment, trailing slash
and query string are ignored; a pattern with ``?key=value`` compares those keys; ``utm_*`` never counts.
May not contain: what a link means to a journey.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

import re2

URL_LIMIT = 8 * 1024
"""Characters of a URL that are looked at (providers.md 5.3); a longer one matches nothing."""

_END = "\x00"
"""Stands before each segment of the common form: no URL that a browser opens holds it."""

_IN_LABEL = r"[^\x00.]*"
_SUBDOMAINS = r"(?:[^\x00.]+\.)+"
_IN_SEGMENT = r"[^\x00]*"
_ANY_SEGMENTS = r"(?:\x00[^\x00]*)*"

_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]*:(?!\d)")
_DEFAULT_PORT = re.compile(r":(?:80|443)?$")
_HOST = re.compile(r"(?:\*\.)?[^\s/?#@*]*(?:\*[^\s/?#@*]*)*")


class PatternError(ValueError):
    """A link that no click can match, with the reason."""


@dataclass(frozen=True, slots=True)
class LinkPattern:
    """A pattern taken apart: the RE2 expression of its host and path, and the query keys that it compares."""

    expression: bytes
    query: tuple[tuple[str, str], ...]


def parse_pattern(text: str) -> LinkPattern:
    """Take a ``host/path`` glob apart. Raises PatternError."""
    if any(c.isspace() or c == _END for c in text):
        raise PatternError("holds a blank; write %20 where a URL has one")
    host, path, query = split_url(text)
    if not host or not _HOST.fullmatch(host) or host in ("*", "*."):
        raise PatternError("needs a host first, such as example.com/pricing or *.example.com/**")
    if len(text) > URL_LIMIT:
        raise PatternError(f"has more than {URL_LIMIT} characters")
    return LinkPattern(f"{_host_expression(host)}{_path_expression(path)}".encode("utf-8", "replace"), query)


class LinkSet:
    """All patterns of all journeys, matched at once."""

    def __init__(self, patterns: Sequence[str]) -> None:
        parsed = tuple(parse_pattern(pattern) for pattern in patterns)
        self._queries = tuple(frozenset(pattern.query) for pattern in parsed)
        self._whole = any(self._queries)
        # Links without recipient tokens repeat; 2,048 of them cost some hundred kilobytes.
        self._known = lru_cache(maxsize=2048)(self._find)
        self._set = None
        if parsed:
            self._set = re2.Set.FullMatchSet()
            for pattern in parsed:
                self._set.Add(pattern.expression)
            self._set.Compile()

    def match(self, url: str) -> tuple[int, ...]:
        """Places in ``patterns`` of those that match, in order; empty for what is no web address. Never raises."""
        if self._set is None or len(url) > URL_LIMIT or _END in url:
            return ()
        # Recipient tokens stand in the query: where no pattern compares one, links repeat without it.
        return self._known(url if self._whole else url.partition("?")[0])

    def _find(self, url: str) -> tuple[int, ...]:
        form, query = _common_form(url)
        if form is None or self._set is None:
            return ()
        found = sorted(self._set.Match(form) or ())
        if not any(self._queries[place] for place in found):
            return tuple(found)
        given = frozenset(query)
        return tuple(place for place in found if self._queries[place] <= given)


def _common_form(url: str) -> tuple[bytes | None, tuple[tuple[str, str], ...]]:
    host, path, query = split_url(url)
    if not host:
        return None, ()
    segments = "".join(_END + unquote(segment).replace(_END, "\ufffd") for segment in path)
    return f"{host}{segments}".encode("utf-8", "replace"), query


def split_url(text: str) -> tuple[str, list[str], tuple[tuple[str, str], ...]]:
    """Host in lower case, path segments as written, query without ``utm_*``; no host for ``mailto:`` and alike.

    >>> split_url("https://Example.com:443/a/b/?utm_source=x&plan=pro#top")
    ('example.com', ['a', 'b'], (('plan', 'pro'),))
    """
    rest = text.partition("#")[0]
    scheme = _SCHEME.match(rest)
    if scheme:
        rest = rest[scheme.end() :]
    elif _OTHER_SCHEME.match(rest):
        return "", [], ()
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    host = _DEFAULT_PORT.sub("", authority.rpartition("@")[2].lower()).rstrip(".")
    segments = path.split("/") if slash else []
    while segments and not segments[-1]:
        segments.pop()
    return host, segments, _pairs(query)


def _pairs(query: str) -> tuple[tuple[str, str], ...]:
    if not query:
        return ()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return ()
    return tuple((key, value) for key, value in pairs if not key.startswith("utm_"))


def _host_expression(host: str) -> str:
    if host.startswith("*."):
        return _SUBDOMAINS + _glob(host[2:], _IN_LABEL)
    return _glob(host, _IN_LABEL)


def _path_expression(segments: list[str]) -> str:
    return "".join(_ANY_SEGMENTS if s == "**" else r"\x00" + _segment_expression(s) for s in segments)


def _segment_expression(segment: str) -> str:
    """``*`` typed is a glob, ``%2A`` is a star: hence decoding between the stars."""
    return _IN_SEGMENT.join(re2.escape(unquote(piece)) for piece in re.split(r"\*+", segment))


def _glob(text: str, any_: str) -> str:
    return any_.join(re2.escape(piece) for piece in text.split("*"))
