"""The grid of payloads: one file a case under ``tests/payloads/<provider>/``, with the events and rejections expected.

``types.txt`` beside the cases lists what the provider documents, one name a line with the types that it may become, in
the words of ``provider_event``: a documented type without a case fails here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost import settings
from stagepost.events import encode_json, parse_rfc3339
from stagepost.normalise import PROVIDERS, AccountConfig, Normalised, Post, normalise

PAYLOADS = Path(__file__).parents[2] / "payloads"
CASES = sorted(PAYLOADS.glob("*/*.json"))


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def post_of(file: Path, case: dict[str, Any]) -> Post:
    body = case["body"]
    return Post(
        provider=file.parent.name,
        account="default",
        body=body.encode() if isinstance(body, str) else json.dumps(body, separators=(",", ":")).encode(),
        headers={name.lower(): value for name, value in case.get("headers", {}).items()},
        received_at=parse_rfc3339(case["received_at"]),
        url=case.get("url"),
    )


def convert(file: Path, case: dict[str, Any]) -> Normalised:
    return normalise(post_of(file, case), msgspec.convert(case.get("account", {}), AccountConfig))


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


@pytest.mark.parametrize("file", CASES, ids=name_of)
def test_a_payload_becomes_the_events_that_stand_beside_it(file: Path) -> None:
    case = load(file)
    result = convert(file, case)
    events = [json.loads(encode_json(event)) for event in result.events]
    expected = case.get("expect", [])
    told = [
        {name: event.get(name) for name in wanted} for event, wanted in zip(events, expected, strict=False)
    ] + events[len(expected) :]
    assert told == expected
    rejected = [{"part": each.part, "reason": each.reason} for each in result.rejected]
    assert rejected == case.get("rejected", [])


def documented(provider: str) -> list[tuple[str, set[str]]]:
    lines = (PAYLOADS / provider / "types.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" = ") for line in lines if line and not line.startswith("#")]
    return [(name, set(types.split())) for name, types in rows]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_every_documented_type_has_a_case_for_each_meaning(provider: str) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for file in CASES:
        if file.parent.name == provider:
            for event in convert(file, load(file)).events:
                seen[str(event.provider_event)].add(event.type.removeprefix("email."))
    assert [(name, types & seen[name]) for name, types in documented(provider)] == documented(provider)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_the_settings_know_where_each_provider_may_name_a_campaign(provider: str) -> None:
    found = set()
    for file in CASES:
        if file.parent.name == provider:
            case = load(file)
            post = post_of(file, case)
            parts = PROVIDERS[provider].parts(post)
            for part in parts if isinstance(parts, list) else ():
                told = PROVIDERS[provider].read(part, post.headers) if isinstance(part, dict) else None
                found |= {tuple(facts.campaigns) for facts in told or () if facts.campaigns}
    assert found == {settings.CAMPAIGN_PLACES[provider]}


@pytest.mark.parametrize("file", CASES, ids=name_of)
def test_a_payload_read_twice_has_the_same_ids_and_no_two_events_share_one(file: Path) -> None:
    case = load(file)
    first, again = ([event.id for event in convert(file, case).events] for _ in range(2))
    assert first == again
    assert len(first) == len(set(first)) or case.get("repeats") is True


SHAPES = [(file, case["body"]) for file in CASES if not isinstance((case := load(file))["body"], str)]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from([10**400, 1e300, "", [], {}]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def mutated(value: Any, path: list[int], junk: Any) -> Any:
    """``value`` with ``junk`` in the place that ``path`` leads to; embedded JSON is walked as well."""
    if isinstance(value, str) and value.startswith("{") and path:
        return json.dumps(mutated(json.loads(value), path, junk))
    if not path or not isinstance(value, dict | list) or not value:
        return junk
    if isinstance(value, list):
        place = path[0] % len(value)
        return [*value[:place], mutated(value[place], path[1:], junk), *value[place + 1 :]]
    key = sorted(value)[path[0] % len(value)]
    return {**value, key: mutated(value[key], path[1:], junk)}


@given(st.sampled_from(SHAPES), st.lists(st.integers(0, 30), max_size=6), JUNK)
def test_whatever_stands_in_the_place_of_a_value_nothing_raises_and_a_neighbour_survives(
    shape: tuple[Path, Any], path: list[int], junk: Any
) -> None:
    file, body = shape
    case = {name: value for name, value in load(file).items() if name != "account"}
    alone = convert(file, {**case, "body": mutated(body, path, junk)})
    assert alone.parts >= 1
    parts = body if isinstance(body, list) else [body]
    expected = {event.id for event in convert(file, {**case, "body": parts}).events}
    beside = convert(file, {**case, "body": [*parts, *(mutated(part, path, junk) for part in parts)]})
    assert expected <= {event.id for event in beside.events}


@pytest.mark.parametrize("file", CASES, ids=name_of)
def test_no_cut_of_a_payload_raises_or_tells_a_part_twice(file: Path) -> None:
    case = load(file)
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"], separators=(",", ":"))
    for end in range(0, len(body), 1 + len(body) // 60):
        for cut in (body[:end], body[end:], body[:end] + "\x00{[\\ud800" + body[end:]):
            result = convert(file, {**case, "body": cut})
            assert result.parts >= 1
