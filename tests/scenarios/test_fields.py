"""journeys.md 2, where and Links: which fields of an event and which URLs a condition takes, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import click, clicked, event, is_, journey, play, stage

from stagepost.journey import definition as d

BEGIN = event("0d", "begin.now")
GT_0, NE_PRO = ("n", "gt", 0), ("n", "ne", "pro")

WHERE: list[tuple[str, tuple[tuple[str, str, Any], ...], dict[str, Any], bool]] = [
    ("where looks in data", (("n", "eq", 1),), {"data": {"n": 1}}, True),
    ("then in metadata", (("n", "eq", 1),), {"metadata": {"n": 1}}, True),
    ("then in the event's own fields", (("stream", "eq", "news"),), {"stream": "news"}, True),
    ("of which data is one", (("data.total", "gt", 5),), {"data": {"total": 6}}, True),
    ("of which metadata is one", (("metadata.a.b", "eq", "x"),), {"metadata": {"a": {"b": "x"}}}, True),
    ("data wins over metadata", (("n", "eq", 2),), {"data": {"n": 1}, "metadata": {"n": 2}}, False),
    (
        "metadata wins over the event's own fields",
        (("stream", "eq", "a"),),
        {"metadata": {"stream": "a"}, "stream": "b"},
        True,
    ),
    (
        "the first place that has the dotted path wins, not the first that has its beginning",
        (("plan.name", "eq", "pro"),),
        {"data": {"plan": {"size": 1}}, "metadata": {"plan": {"name": "pro"}}},
        True,
    ),
    (
        "a null in data is missing there, the next place is asked",
        (GT_0,),
        {"data": {"n": None}, "metadata": {"n": 1}},
        True,
    ),
    ("gt: greater", (GT_0,), {"data": {"n": 0.5}}, True),
    ("gt: not equal", (GT_0,), {"data": {"n": 0}}, False),
    ("ge: equal", (("n", "ge", 2),), {"data": {"n": 2}}, True),
    ("ge: not less", (("n", "ge", 2),), {"data": {"n": 1.9}}, False),
    ("lt: less", (("n", "lt", 2),), {"data": {"n": 1}}, True),
    ("lt: not equal", (("n", "lt", 2),), {"data": {"n": 2}}, False),
    ("le: equal", (("n", "le", 2),), {"data": {"n": 2}}, True),
    ("le: not greater", (("n", "le", 2),), {"data": {"n": 3}}, False),
    ("eq: 1 is 1.0", (("n", "eq", 1),), {"data": {"n": 1.0}}, True),
    ("eq: a text is no number", (("n", "eq", 1),), {"data": {"n": "1"}}, False),
    ("ne: another value of the same kind", (NE_PRO,), {"data": {"n": "free"}}, True),
    ("ne: not the same", (NE_PRO,), {"data": {"n": "pro"}}, False),
    ("in: one of several", (("n", "in", (1, "pro")),), {"data": {"n": "pro"}}, True),
    ("in: none of them", (("n", "in", (1, "pro")),), {"data": {"n": "free"}}, False),
    ("prefix: the beginning", (("n", "prefix", "pro"),), {"data": {"n": "pro-2"}}, True),
    ("prefix: not within", (("n", "prefix", "pro"),), {"data": {"n": "a-pro"}}, False),
    ("matches is RE2, unanchored", (("n", "matches", "r[0-9]"),), {"data": {"n": "pr7-x"}}, True),
    ("matches: nowhere", (("n", "matches", "^r"),), {"data": {"n": "pr7-x"}}, False),
    ("exists: true", (("n", "exists", True),), {"data": {"n": []}}, True),
    ("exists: false", (("n", "exists", False),), {}, True),
    ("null counts as missing", (("n", "exists", False),), {"data": {"n": None}}, True),
    ("a missing field makes a test false, ne too", (NE_PRO,), {}, False),
    ("null makes a test false, ne too", (NE_PRO,), {"data": {"n": None}}, False),
    ("a value of another kind makes a test false, ne too", (NE_PRO,), {"data": {"n": 7}}, False),
    ("a list makes a test false", (GT_0,), {"data": {"n": [1]}}, False),
    ("an object makes a test false, never an error", (("n", "in", (1, "pro")),), {"data": {"n": {"a": 1}}}, False),
    ("a boolean is no number", (GT_0,), {"data": {"n": True}}, False),
    ("a boolean is no number in a list", (("n", "in", (1, 2)),), {"data": {"n": True}}, False),
    ("text compares with text", (("n", "gt", "a"),), {"data": {"n": "b"}}, True),
    ("text does not compare with a number", (GT_0,), {"data": {"n": "5"}}, False),
    ("all tests hold together", (GT_0, ("m", "eq", "x")), {"data": {"n": 1, "m": "y"}}, False),
]


@pytest.mark.parametrize(("tests", "fields", "holds"), [pytest.param(*case[1:], id=case[0]) for case in WHERE])
def test_where(tests: tuple[Any, ...], fields: dict[str, Any], holds: bool) -> None:
    asking = journey([stage("a", is_("begin.now")), stage("b", is_("x.y", *tests))])

    assert ["1d a -> b"] * holds == play(asking, [BEGIN, event("1d", "x.y", **fields)])[1:]


LINKS: list[tuple[str, str, str, bool]] = [
    ("the scheme is ignored", "example.com/a", "http://example.com/a", True),
    ("a scheme in the pattern too", "https://example.com/a", "http://example.com/a", True),
    ("letter case of the host is ignored", "Example.com/a", "https://EXAMPLE.COM/a", True),
    ("the path is case-sensitive", "example.com/a", "https://example.com/A", False),
    ("443 is a default port", "example.com/a", "https://example.com:443/a", True),
    ("80 is a default port, whatever the scheme", "example.com/a", "https://example.com:80/a", True),
    ("another port is another host", "example.com/a", "https://example.com:8080/a", False),
    ("the fragment is ignored", "example.com/a", "https://example.com/a#top", True),
    ("a trailing slash is ignored", "example.com/a", "https://example.com/a/", True),
    ("a trailing slash in the pattern too", "example.com/a/", "https://example.com/a", True),
    ("the query string is ignored", "example.com/a", "https://example.com/a?x=1", True),
    ("a pattern with a query compares its keys", "example.com/a?x=1", "https://example.com/a?y=2&x=1", True),
    ("another value does not match", "example.com/a?x=1", "https://example.com/a?x=2", False),
    ("nor does a missing key", "example.com/a?x=1", "https://example.com/a", False),
    ("utm_ keys are always ignored", "example.com/a?utm_source=x", "https://example.com/a?utm_source=y", True),
    ("the path is percent-decoded", "example.com/a%20b", "https://example.com/%61%20b", True),
    ("it is split into segments before that", "example.com/a/b", "https://example.com/a%2Fb", False),
    ("* stays within one segment", "example.com/a*", "https://example.com/abc", True),
    ("* does not cross a slash", "example.com/a*", "https://example.com/ab/c", False),
    ("** is any number of segments", "example.com/a/**", "https://example.com/a/b/c", True),
    ("none included", "example.com/a/**", "https://example.com/a", True),
    ("** is whole segments", "example.com/a/**", "https://example.com/ab", False),
    ("*.example.com is any sub-domain", "*.example.com", "https://x.y.example.com", True),
    ("and not example.com itself", "*.example.com", "https://example.com", False),
    ("a pattern without a path means the root", "example.com", "https://example.com/", True),
    ("and nothing below it", "example.com", "https://example.com/a", False),
]


@pytest.mark.parametrize(("pattern", "url", "matches"), [pytest.param(*case[1:], id=case[0]) for case in LINKS])
def test_links(pattern: str, url: str, matches: bool) -> None:
    asking = journey([stage("a", is_("begin.now")), stage("b", clicked("there"))], links=(d.Link("there", pattern),))

    assert ["1d a -> b"] * matches == play(asking, [BEGIN, click("1d", url)])[1:]
