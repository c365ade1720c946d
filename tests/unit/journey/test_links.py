"""Link patterns: what journeys.md section 2 (Links) and 3.1 say, a case for each sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost.journey.links import URL_LIMIT, LinkSet, PatternError, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("example.com/pricing", "https://example.com/pricing", True),
        ("example.com/pricing", "http://example.com/pricing", True),
        ("example.com/pricing", "//example.com/pricing", True),
        ("https://example.com/pricing", "http://example.com/pricing", True),
        ("Example.COM/pricing", "https://eXample.com/pricing", True),
        ("example.com/pricing", "https://example.com/Pricing", False),
        ("example.com/pricing", "https://example.com:443/pricing", True),
        ("example.com/pricing", "https://example.com:80/pricing", True),
        ("example.com/pricing", "https://example.com:8080/pricing", False),
        ("example.com:8080/pricing", "https://example.com:8080/pricing", True),
        ("example.com/pricing", "https://example.com/pricing#top", True),
        ("example.com/pricing", "https://example.com/pricing/", True),
        ("example.com/pricing/", "https://example.com/pricing", True),
        ("example.com/pricing", "https://example.com/pricing?plan=pro", True),
        ("example.com/pricing", "https://user:pw@example.com/pricing", True),
        ("example.com/a b", "https://example.com/a%20b", None),
        ("example.com/a%20b", "https://example.com/a%20b", True),
        ("example.com/*", "https://example.com/a%2Fb", True),
        ("example.com/*/b", "https://example.com/a%2Fb", False),
        ("example.com/webinars/*", "https://example.com/webinars/june", True),
        ("example.com/webinars/*", "https://example.com/webinars/june/seat", False),
        ("example.com/webinars/*", "https://example.com/webinars", False),
        ("example.com/web*", "https://example.com/webinars", True),
        ("example.com/pricing/**", "https://example.com/pricing", True),
        ("example.com/pricing/**", "https://example.com/pricing/a/b/c", True),
        ("example.com/pricing/**", "https://example.com/pricings", False),
        ("example.com/**/end", "https://example.com/end", True),
        ("example.com/**/end", "https://example.com/a/b/end", True),
        ("example.com", "https://example.com/", True),
        ("example.com", "https://example.com", True),
        ("example.com", "https://example.com/a", False),
        ("*.example.com/**", "https://shop.example.com/a", True),
        ("*.example.com/**", "https://eu.shop.example.com/a", True),
        ("*.example.com/**", "https://example.com/a", False),
        ("*.example.com/**", "https://badexample.com/a", False),
        ("example.com/a?id=7", "https://example.com/a?x=1&id=7", True),
        ("example.com/a?id=7", "https://example.com/a?id=8", False),
        ("example.com/a?id=7", "https://example.com/a", False),
        ("example.com/a?id=7&utm_source=x", "https://example.com/a?id=7&utm_source=y", True),
        ("example.com/(a+)[b]", "https://example.com/(a+)[b]", True),
        ("example.com/**", "mailto:ann@example.com", False),
        ("example.com/**", "", False),
        ("example.com/**", "https://example.com/" + "a" * URL_LIMIT, False),
    ],
)
def test_a_pattern_matches_as_the_language_says(pattern: str, url: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(PatternError):
            LinkSet([pattern])
    else:
        assert LinkSet([pattern]).match(url) == ((0,) if matches else ())


def test_all_matching_patterns_are_named_in_order() -> None:
    links = LinkSet(["example.com/**", "other.com", "example.com/a/*"])
    assert links.match("https://example.com/a/b") == (0, 2)


def test_a_pattern_with_a_query_tells_apart_what_the_others_take_for_the_same_link() -> None:
    links = LinkSet(["example.com/a", "example.com/a?plan=pro"])

    assert (0, 1) == links.match("https://example.com/a?plan=pro&token=1")
    assert (0,) == links.match("https://example.com/a?plan=free&token=2")


def test_an_empty_set_matches_nothing() -> None:
    assert LinkSet([]).match("https://example.com/") == ()


@pytest.mark.parametrize("text", ["", "/pricing", "?id=7", "https:///a", "mailto:x", "*", "*.", "a b.com", "a.com/x y"])
def test_a_link_that_no_click_can_match_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)


@given(st.text(max_size=200))
def test_no_text_raises_in_match(url: str) -> None:
    links = LinkSet(["example.com/**", "*.example.com/a*b/**?k=v"])
    assert links.match("https://example.com/" + url) in ((), (0,))
    assert isinstance(links.match(url), tuple)


@given(st.text(max_size=60))
def test_a_pattern_is_refused_or_compiles(text: str) -> None:
    try:
        links = LinkSet([text])
    except PatternError:
        return
    assert isinstance(links.match("https://example.com/"), tuple)
