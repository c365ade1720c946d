"""Every file under ``tests/payloads``: a body and what it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagepost.events import Event, encode_json, parse_rfc3339
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

PAYLOADS = Path(__file__).parents[2] / "payloads"


def wire(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_json(event))
    return found


def read(file: Path) -> tuple[dict[str, Any], Normalised]:
    case = json.loads(file.read_text(encoding="utf-8"))
    body = case["body"]
    post = Post(
        provider=file.parent.name,
        account="default",
        body=(body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode(),
        headers=case["headers"],
        received_at=parse_rfc3339(case["received_at"]),
        url=case["url"],
    )
    return case, normalise(post, msgspec.convert(case.get("account", {}), AccountConfig))


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*/*.json")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_payload_becomes_what_its_file_says(file: Path) -> None:
    case, result = read(file)
    told = [wire(event) for event in result.events]
    # A field that is null in the file may as well be absent.
    assert case["expect"] == [
        {name: event.get(name) for name in expected} for event, expected in zip(told, case["expect"], strict=True)
    ]
    assert case["rejected"] == [{"part": rejected.part, "reason": rejected.reason} for rejected in result.rejected]
