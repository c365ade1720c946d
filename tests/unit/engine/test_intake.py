"""Reading one record of email.events: every kind of bad input has its reason, and nothing raises."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from stagepost.engine.intake import EVENT_LIMIT, Incoming, read_event
from stagepost.events import DAY, HOUR, Event, Reason, Rejected, encode_json, parse_rfc3339, rfc3339

NOW = parse_rfc3339("2026-11-02T12:00:00Z")
GOOD: dict[str, Any] = {"id": "e1", "type": "order.completed", "occurred_at": "2026-11-02T09:00:00Z", "contact": "c1"}


def bytes_of(**changes: Any) -> bytes:
    return msgspec.json.encode({k: v for k, v in {**GOOD, **changes}.items() if v is not ...})


def reason_of(value: bytes | None, **options: Any) -> Reason:
    result = read_event(value, broker_time=NOW, **options)
    assert isinstance(result, Rejected)
    return result.reason


def test_a_bare_event_is_read_with_its_own_time() -> None:
    result = read_event(bytes_of(data={"total": 5}), broker_time=NOW)
    assert isinstance(result, Incoming)
    assert (result.at, result.event.contact, result.event.data) == (NOW - 3 * HOUR, "c1", {"total": 5})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.UNDECODABLE),
        (b"", Reason.UNDECODABLE),
        (b"not json", Reason.UNDECODABLE),
        (bytes_of()[:-4], Reason.UNDECODABLE),
        (b"\xff\xfe{}", Reason.UNDECODABLE),
        (bytes_of().replace(b"c1", b"\xc3\x28"), Reason.UNDECODABLE),
        (bytes_of().replace(b'"c1"', b'"\\ud800"'), Reason.UNDECODABLE),
        (bytes_of()[:-1] + b',"data":{"total":NaN}}', Reason.UNDECODABLE),
        (bytes_of()[:-1] + b',"data":{"total":1e999}}', Reason.UNDECODABLE),
        (b"[]", Reason.SCHEMA),
        (b"7", Reason.SCHEMA),
        (bytes_of(id=...), Reason.SCHEMA),
        (bytes_of(id=7), Reason.SCHEMA),
        (bytes_of(id=""), Reason.SCHEMA),
        (bytes_of(id="x" * 300), Reason.SCHEMA),
        (bytes_of(type="order"), Reason.SCHEMA),
        (bytes_of(machine="yes"), Reason.SCHEMA),
        (bytes_of(data=[1]), Reason.SCHEMA),
        (bytes_of(occurred_at=1762074000), Reason.SCHEMA),
        (bytes_of(occurred_at="yesterday"), Reason.SCHEMA),
        (bytes_of(occurred_at="2026-11-02T09:00:00"), Reason.SCHEMA),
        (bytes_of(occurred_at="1999-12-31T23:59:59Z"), Reason.IMPLAUSIBLE_TIME),
        (bytes_of(occurred_at="2026-11-03T12:00:01Z"), Reason.IMPLAUSIBLE_TIME),
        (bytes_of(contact=...), Reason.NO_CONTACT),
        (bytes_of(contact=None), Reason.NO_CONTACT),
        (bytes_of(contact=""), Reason.NO_CONTACT),
        (bytes_of(contact="  "), Reason.NO_CONTACT),
        (bytes_of(contact="é" * 129), Reason.NO_CONTACT),
        (bytes_of(contact="a\x00b"), Reason.NO_CONTACT),
        (bytes_of(data={"note": "x" * EVENT_LIMIT}), Reason.OVERSIZE),
        (bytes_of(data={"note": "x" * 2_000_000}), Reason.OVERSIZE),
        (bytes_of()[:-1] + b',"data":' + b"[" * 40 + b"]" * 40 + b"}", Reason.OVERSIZE),
        (b"[" * 200_000, Reason.OVERSIZE),
    ],
)
def test_each_kind_of_bad_value_has_its_reason(value: bytes | None, reason: Reason) -> None:
    assert reason_of(value) == reason


NULLS = [field for field in structs.fields(Event) if not field.required]


@pytest.mark.parametrize("field", NULLS, ids=[field.name for field in NULLS])
def test_a_null_in_a_field_that_may_be_missing_says_no_more_than_its_absence(field: structs.FieldInfo) -> None:
    written = msgspec.json.decode(encode_json(read(bytes_of(**{field.encode_name: None}))))
    known = {"verified": None} if field.name == "verified" else {}  # there null says: unproved
    assert msgspec.json.decode(encode_json(read(bytes_of()))) | known == written


def test_nulls_in_the_data_of_a_cloudevent_say_nothing_either() -> None:
    data = {"contact": "c1", "url": "https://x.com", "variant": None, "tags": None}
    body = {"specversion": "1.0", "id": "e", "source": "/s", "type": "email.clicked", "time": rfc3339(NOW)}
    event = read(msgspec.json.encode(body | {"data": data}))
    assert (UNSET, (), "https://x.com") == (event.variant, event.tags, event.url)


def test_an_event_with_a_null_and_a_fault_is_rejected_for_the_fault() -> None:
    result = read_event(bytes_of(variant=None, machine="yes"), broker_time=NOW)
    assert isinstance(result, Rejected)
    assert (Reason.SCHEMA, True) == (result.reason, "$.machine" in result.detail)


def read(value: bytes) -> Event:
    result = read_event(value, broker_time=NOW)
    assert isinstance(result, Incoming), result
    return result.event


def test_clock_skew_up_to_a_day_is_clamped_to_the_broker_timestamp() -> None:
    result = read_event(bytes_of(occurred_at="2026-11-03T12:00:00Z"), broker_time=NOW)
    assert isinstance(result, Incoming)
    assert result.at == NOW


def test_without_a_broker_the_event_keeps_its_own_time() -> None:
    result = read_event(bytes_of(occurred_at="2027-01-01T00:00:00Z"))
    assert isinstance(result, Incoming)
    assert result.at == parse_rfc3339("2027-01-01T00:00:00Z")


def test_a_structured_cloudevent_takes_its_contact_from_the_data_else_the_subject() -> None:
    body = {"specversion": "1.0", "id": "7", "source": "shop", "type": "order.completed", "time": GOOD["occurred_at"]}
    by_subject = read_event(msgspec.json.encode({**body, "subject": "c1", "data": {"total": 5}}), broker_time=NOW)
    by_data = read_event(msgspec.json.encode({**body, "subject": "c1", "data": {"contact": "c2"}}), broker_time=NOW)
    assert isinstance(by_subject, Incoming) and isinstance(by_data, Incoming)
    assert (by_subject.event.contact, by_subject.event.data) == ("c1", {"total": 5})
    assert by_data.event.contact == "c2"
    assert reason_of(msgspec.json.encode({**body, "data": {}})) == Reason.NO_CONTACT
    assert reason_of(msgspec.json.encode({**body, "data": "text"})) == Reason.SCHEMA


def test_a_binary_cloudevent_without_time_has_the_broker_timestamp() -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"7"),
        ("ce_source", b"shop"),
        ("ce_type", b"order.completed"),
        ("ce_subject", b"c9"),
    )
    result = read_event(b'{"total": 5}', headers=headers, broker_time=NOW)
    assert isinstance(result, Incoming)
    assert (result.at, result.event.id, result.event.contact, result.event.data) == (NOW, "7", "c9", {"total": 5})


@pytest.mark.parametrize("value", [None, b"", b"null"])
def test_a_binary_cloudevent_needs_no_data(value: bytes | None) -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_type", b"webinar.attended"), ("ce_subject", b"c9"))
    result = read_event(value, headers=headers, broker_time=NOW)
    assert isinstance(result, Incoming)
    assert ("c9", {}) == (result.event.contact, result.event.data)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("ce_id", Reason.SCHEMA), ("ce_type", Reason.SCHEMA), ("ce_subject", Reason.NO_CONTACT)],
)
def test_a_binary_cloudevent_is_refused_for_what_it_lacks(missing: str, reason: Reason) -> None:
    attributes = {"ce_specversion": b"1.0", "ce_id": b"7", "ce_type": b"order.completed", "ce_subject": b"c9"}
    headers = tuple((name, value) for name, value in attributes.items() if name != missing)
    assert reason == reason_of(b'{"total": 5}', headers=headers)


def test_a_cloudevent_of_the_vocabulary_lifts_the_canonical_fields_from_its_data() -> None:
    body = {
        **{"specversion": "1.0", "id": "7", "source": "esp", "type": "email.clicked", "subject": "c1"},
        **{
            "time": GOOD["occurred_at"],
            "data": {"campaign": "nurture-1", "url": "https://example.com/", "machine": False},
        },
    }
    result = read_event(msgspec.json.encode(body), broker_time=NOW)
    assert isinstance(result, Incoming)
    assert (result.event.campaign, result.event.url, result.event.machine) == (
        "nurture-1",
        "https://example.com/",
        False,
    )


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise(value: bytes) -> None:
    assert isinstance(read_event(value, broker_time=NOW), Incoming | Rejected)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
            for name in (
                "id",
                "type",
                "occurred_at",
                "contact",
                "campaign",
                "data",
                "metadata",
                "tags",
                "specversion",
                "smtp",
            )
        },
    )
)
def test_no_object_raises_and_an_accepted_one_lies_in_time(changes: dict[str, Any]) -> None:
    result = read_event(msgspec.json.encode({**GOOD, **changes}), broker_time=NOW)
    assert isinstance(result, Rejected) or result.at <= NOW + DAY


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-02T09:14:07.120Z", "2026-11-02T10:14:07.120+01:00"),
        ("2026-11-02T23:59:59.999Z", "2026-11-02T23:59:59.999000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999000Z"),
    ],
)
def test_a_time_is_the_same_in_every_form(text: str, same: str) -> None:
    assert parse_rfc3339(same) == parse_rfc3339(text)
    assert text == rfc3339(parse_rfc3339(text))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-02T09:60:07.120Z",
        "2026-11-02T09:14:60.120Z",
        "2026-11-02T24:14:07.120Z",
        "2026-11-31T09:14:07.120Z",
        "2026-11-02T09:14:07,120Z",
        "2026-11-02T09:14:+7.120Z",
        "2026-11-02T09:14:\u0660\u0667.120Z",
    ],
)
def test_what_is_no_time_is_refused_in_the_form_that_is_read_fast(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_rfc3339(text)
