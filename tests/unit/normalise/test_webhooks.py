from __future__ import annotations

import pytest

from stagepost.events import PROVIDERS
from stagepost.normalise.webhooks import ANSWERS, TokenMemory, answers_of, challenge, firehose_answer, worth_keeping


def test_every_provider_has_a_row() -> None:
    assert set(ANSWERS) >= PROVIDERS


@pytest.mark.parametrize("provider", ["postmark", "ses", "brevo"])
def test_who_drops_a_post_on_a_client_error_never_gets_one(provider: str) -> None:
    answers = answers_of(provider)
    assert all(code == 429 or code >= 500 for code in (answers.refused, answers.unavailable, answers.oversize))


def test_brevo_discards_on_server_errors_too() -> None:
    answers = answers_of("brevo")
    assert (answers.refused, answers.unavailable, answers.oversize) == (429, 429, 429)


def test_mailgun_stops_sending_what_no_key_fits() -> None:
    assert answers_of("mailgun").refused == 406
    assert answers_of("mailgun").unavailable == 503


def test_an_answer_comes_before_the_sender_gives_up() -> None:
    assert answers_of("mailersend").patience_s < 3
    assert all(answers.patience_s < 10 for answers in ANSWERS.values())


def test_sns_shows_its_credentials_only_when_asked_and_is_asked_only_where_there_are_some() -> None:
    assert challenge("ses", {}, ["user:password"])
    assert not challenge("ses", {"authorization": "Basic d3Jvbmc="}, ["user:password"])
    assert not challenge("sendgrid", {}, ["user:password"])
    for secrets in ([], ["header:x-token=1"], ["-----BEGIN CERTIFICATE-----\nMII:..."]):
        assert not challenge("ses", {}, secrets)


def test_firehose_is_answered_in_its_own_form() -> None:
    headers = {"x-amz-firehose-request-id": "r-1"}
    assert firehose_answer(headers, 200, "accepted", 1_700_000_000_123_456) == {
        "requestId": "r-1",
        "timestamp": 1_700_000_000_123,
    }
    refused = firehose_answer(headers, 503, "not confirmed", 0)
    assert refused is not None
    assert refused["errorMessage"] == "not confirmed"
    assert firehose_answer({}, 200, "accepted", 0) is None


def test_headers_that_a_signature_needs_go_with_the_body_and_others_do_not() -> None:
    given = [
        ("X-Twilio-Email-Event-Webhook-Signature", "s"),
        ("Content-Type", "application/json"),
        ("X-Token", "t"),
        ("Cookie", "c"),
        ("Svix-Id", "x" * 5000),
    ]
    assert worth_keeping(given, ["header:X-Token=t"]) == {
        "x-twilio-email-event-webhook-signature": "s",
        "content-type": "application/json",
        "x-token": "t",
    }
    assert "x-token" not in worth_keeping(given, [])


def test_a_token_is_remembered_with_its_body_for_as_long_as_it_can_be_signed_with() -> None:
    memory = TokenMemory(span=10, size=100)
    assert memory.admits(["t"], b"body", 0)
    assert memory.admits(["t"], b"body", 5)
    assert not memory.admits(["t"], b"other", 15)
    assert not memory.admits(["new", "t"], b"other", 16)
    assert memory.admits(["t"], b"other", 21)
    assert memory.admits([], b"nothing that has to be remembered", 22)


def test_the_memory_of_tokens_is_bounded_and_the_oldest_go_first() -> None:
    memory = TokenMemory(span=10**12, size=3)
    for number in range(10):
        assert memory.admits([f"t{number}"], b"body", number)
    assert memory.admits(["t0"], b"other", 10)
    assert not memory.admits(["t9"], b"other", 10)
