"""The way back of a dead letter: as it was, with which retry it is, and a receipt."""

from __future__ import annotations

import pytest

from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Emit, Headers, Record, Topic
from stagepost.engine.retries import parts_to_retry, read_dead_letter, receipt_for, retried_from, retry_of
from stagepost.events import Reason, Rejected

HEADERS: Headers = (("provider", b"sendgrid"), ("__dlq.errors.topic", b"somebody else's"), ("odd", b"\xfe"))
RECORD = Record(Topic.RAW, 3, 41, 7, b"k", b"\xff cut", HEADERS)


def lying(emit: Emit, partition: int = 1, offset: int = 5) -> Record:
    return Record(emit.topic, partition, offset, 9, emit.key, emit.value, emit.headers)


def refused(record: Record, *parts: int) -> Record:
    rejected = [Rejected(Reason.SCHEMA, "no email", part) for part in parts] or [
        Rejected(Reason.SIGNATURE, "none fits")
    ]
    return lying(dead_letter(record, Topic.RAW_DLQ, "acme.email.raw", "acme.stagepost.normalise", rejected))


def test_a_dead_letter_tells_where_it_came_from_and_why_it_is_there() -> None:
    letter = read_dead_letter(refused(RECORD))
    assert letter is not None
    assert (letter.place, letter.reason, letter.detail) == ("email.raw.dlq:1:5", "signature", "none fits")
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == ("acme.email.raw", 3, 41)
    assert (letter.group, letter.retries, letter.parts) == ("acme.stagepost.normalise", 0, "")


def test_the_original_goes_back_byte_for_byte_even_if_it_had_headers_of_another_queue() -> None:
    letter = read_dead_letter(refused(RECORD))
    assert letter is not None
    again, receipt = retry_of(letter)
    assert (again.topic, again.key, again.value) == (Topic.RAW, RECORD.key, RECORD.value)
    assert again.headers == (*HEADERS, ("stagepost-retry", b"1"), ("stagepost-retry-of", b"email.raw.dlq:1:5"))
    assert (receipt.topic, receipt.partition, receipt.value) == (Topic.RAW_DLQ, 1, None)
    assert receipt_for(lying(receipt)) == letter.place
    assert read_dead_letter(lying(receipt)) is None


def test_only_refused_parts_are_read_again() -> None:
    letter = read_dead_letter(refused(RECORD, 3, 17))
    assert letter is not None
    again, _ = retry_of(letter)
    assert parts_to_retry(again.headers) == {3, 17}


def test_a_list_of_parts_that_was_cut_means_all_of_them() -> None:
    letter = read_dead_letter(refused(RECORD, *range(2_000)))
    assert letter is not None
    assert letter.parts.endswith(",...")
    assert parts_to_retry(retry_of(letter)[0].headers) is None


@pytest.mark.parametrize("parts", [b"", b"x", b"1", b"-1:schema", b"\xff"])
def test_a_list_of_parts_counts_on_a_retry_only_and_nonsense_means_all(parts: bytes) -> None:
    assert parts_to_retry((("stagepost-parts", b"3:schema"),)) is None
    assert parts_to_retry((("stagepost-retry", b"1"), ("stagepost-parts", parts))) is None


def test_attempts_are_counted_and_headers_of_an_earlier_retry_do_not_pile_up() -> None:
    first = read_dead_letter(refused(RECORD, 3))
    assert first is not None
    second = read_dead_letter(refused(lying(retry_of(first)[0], 0, 99), 3))
    assert second is not None
    assert (second.retries, retried_from(second.record)) == (1, first.place)
    assert dict(second.record.headers)["__dlq.errors.delivery.count"] == b"2"
    again, _ = retry_of(second)
    assert again.headers == (
        *HEADERS,
        ("stagepost-retry", b"2"),
        ("stagepost-retry-of", second.place.encode()),
        ("stagepost-parts", b"3:schema"),
    )


@pytest.mark.parametrize("headers", [(), (("stagepost-reason", b"schema"),)])
def test_what_no_worker_wrote_is_no_dead_letter(headers: Headers) -> None:
    assert read_dead_letter(Record(Topic.RAW_DLQ, 0, 0, 0, None, b"x", headers)) is None
    assert receipt_for(Record(Topic.RAW_DLQ, 0, 0, 0, None, b"x", headers)) is None
