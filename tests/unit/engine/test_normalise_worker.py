"""The normalise role as a pure processor: headers in, events and dead letters out, a sum that closes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagepost.engine import normalise_worker as worker
from stagepost.engine.attempts import deadly
from stagepost.engine.normalise_worker import NormaliseProcessor
from stagepost.engine.plan import PartitionPlan, Record, Topic
from stagepost.events import MICROS, parse_rfc3339
from stagepost.normalise import AccountConfig, Normalised, Post

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
HEADERS = (("provider", b"sendgrid"), ("received_at", b"2026-11-02T09:20:00Z"), ("traceparent", b"00-1-2-01"))
ACCOUNTS = {"vip": AccountConfig(contact_keys=("crm",)), "default": AccountConfig()}
PROCESSOR = NormaliseProcessor(ACCOUNTS, b"k" * 16, "acme.", "acme.g")


def part(**fields: Any) -> dict[str, Any]:
    return {
        "event": "open",
        "email": "a@example.com",
        "timestamp": RECEIVED // MICROS - 60,
        "contact_id": "c1",
        **fields,
    }


def plan(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = HEADERS, offset: int = 7) -> PartitionPlan:
    record = Record(Topic.RAW, 2, offset, RECEIVED, b"k", value, headers)
    return PROCESSOR.plan(2, 1, [record], offset + 1)


def body(*parts: object) -> bytes:
    return json.dumps(parts).encode()


def test_an_event_goes_on_under_its_contact_with_its_place_and_trace() -> None:
    (emit,) = plan(body(part())).emits
    event = json.loads(emit.value or b"")
    assert (emit.topic, emit.key, emit.partition) == (Topic.EVENTS, b"c1", None)
    assert event["raw"] == {"part": 0, "topic": "acme.email.raw", "partition": 2, "offset": 7}
    assert emit.headers == (("content-type", b"application/json"), ("traceparent", b"00-1-2-01"))


def test_good_parts_go_on_and_the_body_is_one_dead_letter_for_its_bad_ones() -> None:
    value = body(part(), 7, part(timestamp=1))
    made = plan(value)
    assert [emit.topic for emit in made.emits] == [Topic.EVENTS, Topic.RAW_DLQ]
    letter = made.emits[1]
    assert (letter.value, letter.key, dict(letter.headers)["stagepost-parts"]) == (
        value,
        b"k",
        b"1:schema,2:implausible-time",
    )
    assert dict(letter.headers)["__dlq.errors.topic"] == b"acme.email.raw"


def test_the_sum_of_parts_closes() -> None:
    for value in (body(part(), 7), body(), b"", None, b"nope", body(part(event="x"), part(email="", contact_id=""))):
        counts = plan(value).counts
        assert counts["parts_total", "in"] == sum(
            counts.get(("parts_total", outcome), 0) for outcome in ("event", "rejected", "no_event")
        )


def test_the_provider_is_told_by_the_header_or_the_record_is_refused() -> None:
    for headers in ((), (("provider", b"pigeon"),), (("provider", b"\xff"),)):
        (letter,) = plan(body(part()), headers).emits
        assert dict(letter.headers)["stagepost-reason"] == b"unknown-provider"


def test_a_provider_may_be_named_by_its_alias() -> None:
    value = json.dumps({"eventType": "Send", "mail": {"destination": ["ann@example.com"]}}).encode()
    (emit,) = plan(value, (("provider", b"Amazon_SES"),)).emits
    assert json.loads(emit.value or b"")["provider"] == "ses"


def test_the_account_header_chooses_the_account() -> None:
    (emit,) = plan(body(part(crm="k9")), (*HEADERS, ("account", b"vip"))).emits
    assert (emit.key, json.loads(emit.value or b"")["account"]) == (b"k9", "vip")


def test_under_an_account_with_keys_of_another_provider_events_are_refused_and_pings_pass() -> None:
    of_another = AccountConfig(provider="mailgun", secrets=("key",))
    processor = NormaliseProcessor({"of-another": of_another, "open": AccountConfig(provider="ses")}, b"k" * 16)
    for account, value, expected in (
        ("of-another", body(part()), [b"signature"]),
        ("of-another", b"[]", []),
        ("open", body(part()), [None]),
        ("default", body(part()), [None]),
    ):
        record = Record(Topic.RAW, 2, 7, RECEIVED, b"k", value, (*HEADERS, ("account", account.encode())))
        made = processor.plan(2, 1, [record], 8)
        assert [dict(emit.headers).get("stagepost-reason") for emit in made.emits] == expected


@pytest.mark.parametrize(
    ("config", "headers", "result"),
    [
        (AccountConfig(), (), "none"),
        (AccountConfig(secrets=("u:p",)), (("http.authorization", b"Basic dTpw"),), "valid"),
        (AccountConfig(secrets=("u:p",)), (), "invalid"),
        (AccountConfig(secrets=("u:p",), signature="mark"), (), "invalid"),
    ],
)
def test_checks_of_signatures_are_counted_by_their_result(
    config: AccountConfig, headers: tuple[tuple[str, bytes], ...], result: str
) -> None:
    processor = NormaliseProcessor({"default": config}, b"k" * 16)
    value = b'{"RecordType": "Open", "MessageID": "m", "Recipient": "a@example.com"}'
    record = Record(Topic.RAW, 2, 7, RECEIVED, b"k", value, (("provider", b"postmark"), *headers))
    counts = processor.plan(2, 1, [record], 8).counts
    assert {("signature_checks_total", "postmark", result): 1} == {
        key: n for key, n in counts.items() if key[0] == "signature_checks_total"
    }


def test_an_account_that_is_no_name_is_refused_with_its_body() -> None:
    headers = (*HEADERS, ("account", b"a" * 257))
    (letter,) = plan(body(part(), part()), headers).emits
    assert (Topic.RAW_DLQ, b"schema") == (letter.topic, dict(letter.headers)["stagepost-reason"])


def test_a_missing_or_broken_received_at_is_the_timestamp_of_the_record() -> None:
    for text in (None, b"yesterday"):
        headers = (("provider", b"sendgrid"),) + ((("received_at", text),) if text else ())
        (emit,) = plan(body(part()), headers).emits
        assert json.loads(emit.value or b"")["received_at"] == "2026-11-02T09:20:00.000Z"


TOPIC = "arn:aws:sns:eu-west-1:1:mail"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
ENVELOPE = {
    "Type": "Notification",
    "TopicArn": TOPIC,
    "SigningCertURL": CERTIFICATE,
    "Message": json.dumps({"eventType": "Send", "mail": {"destination": ["ann@example.com"]}}),
}
SES_HEADERS = (("provider", b"ses"), ("received_at", b"2026-11-02T09:20:00Z"), ("account", b"aws"))


def test_the_certificates_of_listed_topics_are_asked_for_and_without_them_nothing_passes() -> None:
    asked: list[str] = []
    for topics, expected in (((TOPIC,), Topic.RAW_DLQ), ((), Topic.EVENTS)):
        account = AccountConfig(topics=topics)
        processor = NormaliseProcessor({"aws": account}, b"k" * 16, certificates=lambda url: asked.append(url))
        record = Record(Topic.RAW, 2, 7, RECEIVED, b"k", json.dumps(ENVELOPE).encode(), SES_HEADERS)
        (emit,) = processor.plan(2, 1, [record], 8).emits
        assert emit.topic == expected
    assert asked == [CERTIFICATE]


def test_signature_checks_are_counted_by_what_came_of_them() -> None:
    told = []
    for account in (
        AccountConfig(),
        AccountConfig(secrets=("key",)),
        AccountConfig(secrets=("key",), signature="mark"),
        AccountConfig(signature="require"),
    ):
        processor = NormaliseProcessor({"default": account}, b"k" * 16)
        record = Record(Topic.RAW, 2, 7, RECEIVED, b"k", body(part()), HEADERS)
        counts = processor.plan(2, 1, [record], 8).counts
        told += [labels[2] for labels in counts if labels[0] == "signature_checks_total"]
    assert told == ["none", "invalid", "invalid", "invalid"]


def test_a_record_over_which_the_code_fails_is_a_dead_letter_and_its_neighbours_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = worker.normalise

    def failing(post: Post, *rest: Any) -> Normalised:
        if b"c2" in post.body:
            raise ZeroDivisionError("a fault of ours")
        return real(post, *rest)

    monkeypatch.setattr(worker, "normalise", failing)
    records = [
        Record(Topic.RAW, 2, n, RECEIVED, b"k", body(part(contact_id=f"c{n}", sg_event_id=str(n))), HEADERS)
        for n in range(1, 4)
    ]
    made = PROCESSOR.plan(2, 1, records, 4)
    assert [(emit.topic, emit.key) for emit in made.emits] == [
        (Topic.EVENTS, b"c1"),
        (Topic.RAW_DLQ, b"k"),
        (Topic.EVENTS, b"c3"),
    ]
    told = dict(made.emits[1].headers)
    assert (told["stagepost-reason"], told["stagepost-detail"]) == (
        b"rule-error",
        b"ZeroDivisionError while the body was read",
    )
    assert (made.counts["parts_total", "in"], made.counts["parts_total", "rejected"]) == (3, 1)


def test_an_event_that_no_topic_takes_is_a_rejected_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "EVENT_LIMIT", 2000)
    value = body(part(), part(sg_event_id="large", category=["x" * 900] * 3))
    made = plan(value)
    assert [emit.topic for emit in made.emits] == [Topic.EVENTS, Topic.RAW_DLQ]
    assert dict(made.emits[1].headers)["stagepost-parts"] == b"1:oversize"
    assert (made.counts["parts_total", "event"], made.counts["parts_total", "rejected"]) == (1, 1)


def test_a_record_can_be_refused_without_a_look_into_it() -> None:
    record = Record(Topic.RAW, 2, 7, RECEIVED, b"k", b"anything", HEADERS)
    made = PROCESSOR.refuse(2, 5, record, deadly())
    (letter,) = made.emits
    assert (made.partition, made.seq, made.next_offset) == (2, 5, 8)
    assert (letter.topic, letter.key, letter.value) == (Topic.RAW_DLQ, b"k", b"anything")
    assert dict(letter.headers)["stagepost-reason"] == b"rule-error"
    assert (made.counts["parts_total", "in"], made.counts["parts_total", "rejected"]) == (1, 1)
