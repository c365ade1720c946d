"""A dead letter is the original, byte for byte, and where and why it was refused."""

from __future__ import annotations

import pytest

from stagepost.engine.dead_letters import CARRIED_LIMIT, DETAIL_LIMIT, dead_letter, size_of
from stagepost.engine.plan import Record, Topic
from stagepost.events import Reason, Rejected

RECORD = Record(Topic.RAW, 3, 41, 0, b"k", b"\xff\x00 cut", (("provider", b"sendgrid"), ("odd", b"\xfe")))


def test_key_value_and_headers_are_kept_byte_for_byte() -> None:
    letter = dead_letter(
        RECORD, Topic.RAW_DLQ, "acme.email.raw", "acme.normalise", [Rejected(Reason.UNDECODABLE, "cut")]
    )
    assert (letter.topic, letter.key, letter.value) == (Topic.RAW_DLQ, RECORD.key, RECORD.value)
    assert letter.headers[:2] == RECORD.headers


def test_headers_name_place_group_reason_and_detail() -> None:
    letter = dead_letter(
        RECORD, Topic.RAW_DLQ, "acme.email.raw", "acme.normalise", [Rejected(Reason.SCHEMA, "no email", 0)]
    )
    assert dict(letter.headers[2:]) == {
        "__dlq.errors.topic": b"acme.email.raw",
        "__dlq.errors.partition": b"3",
        "__dlq.errors.offset": b"41",
        "__dlq.errors.group": b"acme.normalise",
        "__dlq.errors.delivery.count": b"1",
        "__dlq.errors.message": b"schema: no email",
        "stagepost-reason": b"schema",
        "stagepost-detail": b"no email",
        "stagepost-parts": b"0:schema",
    }


def test_several_bad_parts_are_listed_and_the_first_gives_the_reason() -> None:
    parts = [Rejected(Reason.SCHEMA, "a", 3), Rejected(Reason.NO_CONTACT, "b", 17)]
    headers = dict(dead_letter(RECORD, Topic.RAW_DLQ, "t", "g", parts).headers)
    assert (headers["stagepost-reason"], headers["stagepost-parts"]) == (b"schema", b"3:schema,17:no-contact")


def test_detail_and_list_of_parts_are_bounded() -> None:
    parts = [Rejected(Reason.SCHEMA, "x" * 5_000, n) for n in range(10_000)]
    headers = dict(dead_letter(RECORD, Topic.RAW_DLQ, "t", "g", parts).headers)
    assert len(headers["stagepost-detail"]) == DETAIL_LIMIT
    assert len(headers["stagepost-parts"]) <= 4_000
    assert headers["stagepost-parts"].endswith(b":schema,...")


@pytest.mark.parametrize(
    ("limit", "left", "omitted"),
    [
        (30, (b"k", b"header", b"value"), None),
        (29, (b"k", b"header", None), b"value:12"),
        (17, (b"k", None, b"value"), b"headers:17"),
        (11, (b"k", None, None), b"headers:17,value:12"),
        (0, (None, None, None), b"key:1,headers:17,value:12"),
    ],
)
def test_what_cannot_be_sent_is_left_out_and_named(
    limit: int, left: tuple[bytes | None, ...], omitted: bytes | None
) -> None:
    record = Record(Topic.RAW, 3, 41, 0, b"k", b"twelve bytes", (("provider", b"header in"),))
    letter = dead_letter(record, Topic.RAW_DLQ, "t", "g", [Rejected(Reason.OVERSIZE, "large")], limit)
    headers = dict(letter.headers)
    shown = (letter.key, headers.get("provider") and b"header", letter.value and b"value")
    assert (left, omitted) == (shown, headers.get("stagepost-omitted"))
    assert b"41" == headers["__dlq.errors.offset"]


def test_all_that_a_topic_took_uncompressed_is_kept() -> None:
    record = Record(Topic.RAW, 3, 41, 0, b"k", b"v" * (CARRIED_LIMIT - 18), (("provider", b"header in"),))
    letter = dead_letter(record, Topic.RAW_DLQ, "t", "g", [Rejected(Reason.OVERSIZE, "large")])
    assert (CARRIED_LIMIT, record.value) == (size_of(record), letter.value)
