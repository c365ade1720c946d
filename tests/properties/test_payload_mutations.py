"""Real shapes with one value exchanged: nothing raises, the sum closes, and no neighbour is lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stagepost.events import encode_json, parse_rfc3339
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

PAYLOADS = Path(__file__).parents[1] / "payloads"
CASES = [
    (file.parent.name, case)
    for file in sorted(PAYLOADS.glob("*/*.json"))
    if not isinstance((case := json.loads(file.read_text(encoding="utf-8")))["body"], str)
]

JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**70,
        1e300,
        "",
        "\x00",
        "9" * 5_000,
        "a@b",
        "2026-99-99T00:00:00+99",
        "{",
        '{"a":[[[]]]}',
        "[" * 40 + "]" * 40,
        [],
        {},
        [[]],
        ["a@b", "c@d"],
        {"email": 5},
        [None, 7, "x"],
    ]
)


def convert(provider: str, case: dict[str, Any], body: Any) -> Normalised:
    post = Post(
        provider=provider,
        account="default",
        body=json.dumps(body).encode(),
        headers=case["headers"],
        received_at=parse_rfc3339(case["received_at"]),
    )
    return normalise(post, AccountConfig())


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@settings(max_examples=300)
@given(st.sampled_from(CASES), st.integers(0, 10_000), JUNK)
def test_any_value_may_be_anything(case: tuple[str, dict[str, Any]], place: int, junk: Any) -> None:
    provider, told = case
    body = copy.deepcopy(told["body"])
    found = list(places(body))
    if found:
        container, key = found[place % len(found)]
        container[key] = junk
    result = convert(provider, told, body)
    assert result.parts >= 1
    assert all(encode_json(event) for event in result.events)


BATCHES = [(provider, case) for provider, case in CASES if isinstance(case["body"], list) and case["expect"]]


@settings(max_examples=300)
@given(st.sampled_from(BATCHES), st.integers(0, 10_000), JUNK)
def test_what_one_part_becomes_changes_nothing_about_its_neighbours(
    case: tuple[str, dict[str, Any]], place: int, junk: Any
) -> None:
    provider, told = case
    before = convert(provider, told, told["body"])
    body = copy.deepcopy(told["body"])
    changed = place % len(body)
    found = [(body, changed), *places(body[changed])]
    container, key = found[place % len(found)]
    container[key] = junk
    after = convert(provider, told, body)
    assert elsewhere(before, changed) == elsewhere(after, changed)


def elsewhere(result: Normalised, changed: int) -> list[Any]:
    events = [event for event in result.events if event.raw.part != changed]  # type: ignore[union-attr]
    return [*events, *(rejected for rejected in result.rejected if rejected.part != changed)]
