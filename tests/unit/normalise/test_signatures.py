"""SNS signatures, with certificates made for the test; the other schemes are in the grid and in test_normalise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sns import SES, TOPIC, URL, SnsKeys

from stagepost.events import Reason, parse_rfc3339
from stagepost.normalise import PROVIDERS, AccountConfig, Normalised, Post, normalise, refusal
from stagepost.normalise.ses import certificate_urls
from stagepost.normalise.signatures import never_fits

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")


AMAZON = SnsKeys()
OTHER = SnsKeys()


def convert(body: object, account: AccountConfig, **fields: Any) -> Normalised:
    raw = json.dumps(body).encode()
    return normalise(
        Post(provider="ses", account="default", body=raw, headers={}, received_at=RECEIVED, **fields), account
    )


def outcome(body: object, account: AccountConfig | None = None, **fields: Any) -> Any:
    """``verified`` of the events, or the reason of the rejection."""
    result = convert(body, account or AccountConfig(secrets=(AMAZON.certificate,)), **fields)
    return [event.verified for event in result.events] or result.rejected[0].reason


def urls(body: object, *topics: str) -> tuple[str, ...]:
    """Where certificates would be fetched from for an account that lists ``topics``, or TOPIC."""
    post = Post(provider="ses", account="default", body=json.dumps(body).encode(), headers={}, received_at=RECEIVED)
    return certificate_urls(post, AccountConfig(topics=topics or (TOPIC,)))


def test_a_certificate_is_fetched_once_for_a_listed_topic_from_the_host_of_its_region() -> None:
    envelope = AMAZON.notification()
    assert urls(envelope) == urls({"Records": [{"Sns": envelope}, {"Sns": envelope}]}) == (URL,)
    assert urls(envelope, TOPIC + "2") == ()
    assert urls({**envelope, "SigningCertURL": URL.replace("eu-west-1", "nowhere-9")}) == ()
    assert urls({**envelope, "TopicArn": "a:b"}, "a:b") == ()
    assert urls([envelope, {**envelope, "TopicArn": 7}, 7]) == (URL,)
    china = "arn:aws-cn:sns:cn-north-1:1:mail"
    url = URL.replace("eu-west-1.amazonaws.com", "cn-north-1.amazonaws.com.cn")
    assert urls({**envelope, "TopicArn": china, "SigningCertURL": url}, china) == (url,)


SENDGRID = "x-twilio-email-event-webhook-"


@pytest.mark.parametrize(
    ("provider", "headers", "body", "why"),
    [
        ("sendgrid", {}, b"[{}]", f"it has no header {SENDGRID}signature"),
        (
            "sendgrid",
            {f"{SENDGRID}signature": "c2ln", f"{SENDGRID}timestamp": "1762075200"},
            b"[{}]",
            "it was signed 8760 h before it was received, and 24 h are allowed",
        ),
        (
            "resend",
            {"svix-signature": "v1,x", "svix-timestamp": "1793612100"},
            b"{}",
            "it was signed 15 min after it was received, and 5 min are allowed",
        ),
        (
            "resend",
            {"svix-signature": "v1,x", "svix-timestamp": "soon"},
            b"{}",
            "it was signed at no time that can be read, and 5 min are allowed",
        ),
        (
            "mailgun",
            {},
            b'{"signature": {"timestamp": "1793400000", "token": "t", "signature": "s"}, "event-data": {}}',
            "it was signed 59 h before it was received, and 24 h are allowed",
        ),
        ("mailgun", {}, b"[", "no configured key fits the post"),
        ("postmark", {}, b"{}", "no configured key fits the post"),
    ],
)
def test_why_a_post_is_refused_is_told_as_far_as_it_shows(
    provider: str, headers: dict[str, str], body: bytes, why: str
) -> None:
    post = Post(provider=provider, account="default", body=body, headers=headers, received_at=RECEIVED)
    assert refusal(post) == why


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Amazon SES Email Event Notification", "", None, ...])
def test_both_versions_verify_with_and_without_a_subject(version: str, subject: Any) -> None:
    assert outcome(AMAZON.notification(version=version, Subject=subject)) == [True]


def test_any_of_the_keys_may_be_the_one() -> None:
    account = AccountConfig(secrets=("user:pass", OTHER.certificate, AMAZON.certificate))
    assert outcome(AMAZON.notification(), account) == [True]
    assert outcome(AMAZON.notification(), AccountConfig(secrets=(OTHER.certificate + AMAZON.certificate,))) == [True]
    assert outcome(AMAZON.notification(), AccountConfig(secrets=(OTHER.certificate,))) == Reason.SIGNATURE


@pytest.mark.parametrize(
    "changes",
    [
        {"Message": json.dumps(SES | {"eventType": "Bounce"})},
        {"MessageId": "m-2"},
        {"Subject": "another"},
        {"Timestamp": "2026-11-02T09:15:01.000Z"},
        {"TopicArn": TOPIC + "2"},
        {"SignatureVersion": "2"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": None},
        {"Signature": "####"},
        {"Signature": None},
        {"Type": "SubscriptionConfirmation2"},
        {"MessageId": 7},
    ],
)
def test_a_changed_field_does_not_verify(changes: dict[str, Any]) -> None:
    assert outcome({**AMAZON.notification(), **changes}) == Reason.SIGNATURE


@pytest.mark.parametrize(
    "url",
    [
        URL.replace("https", "http"),
        URL.replace("amazonaws.com", "amazonaws.com.evil.example"),
        URL.replace("sns.eu-west-1.amazonaws.com", "sns.eu-west-1.amazonaws.com@evil.example"),
        URL.replace("sns.", "s3."),
        URL.replace("sns.eu-west-1.", "sns.eu.west.1."),
        URL.replace("amazonaws.com", "amazonaws.com:8443"),
        URL.replace("SimpleNotificationService", "bucket/SimpleNotificationService"),
        URL.replace(".pem", ".pem?x=.pem"),
        URL + "\n",
        None,
        7,
    ],
)
def test_the_place_of_the_certificate_is_checked_also_when_one_is_given(url: Any) -> None:
    envelope = {**AMAZON.notification(), "SigningCertURL": url}
    assert outcome(envelope) == Reason.SIGNATURE
    assert urls(envelope) == ()


def test_the_host_of_china_and_the_spelling_of_lambda_are_fine() -> None:
    url = URL.replace("eu-west-1.amazonaws.com", "cn-north-1.amazonaws.com.cn")
    envelope = AMAZON.notification(SigningCertURL=..., SigningCertUrl=url)
    assert outcome(envelope) == [True]
    assert outcome({"Records": [{"EventSource": "aws:sns", "Sns": envelope}]}) == [True]
    assert urls({"Records": [{"Sns": envelope}] * 2}) == ()


def test_an_envelope_is_verified_in_every_carrier_and_all_of_them_must_be() -> None:
    good, bad = AMAZON.notification(), OTHER.notification()
    assert outcome({"Body": json.dumps(good)}) == [True]
    assert outcome({"Records": [{"body": json.dumps(good)}, {"body": json.dumps(good)}]}) == [True, True]
    assert outcome({"Records": [{"body": json.dumps(good)}, {"body": json.dumps(bad)}]}) == Reason.SIGNATURE
    assert outcome({"Records": [{"body": json.dumps(good)}, {"body": json.dumps(SES)}]}) == Reason.SIGNATURE
    assert outcome(SES) == Reason.SIGNATURE


def test_confirmations_carry_no_event_and_pass() -> None:
    confirmation = {"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "Message": "x", "SignatureVersion": "1"}
    assert convert(confirmation, AccountConfig(secrets=(AMAZON.certificate,))) == Normalised(without_event=1)


def test_a_valid_signature_of_a_topic_that_is_not_listed_is_refused() -> None:
    listed = AccountConfig(secrets=(AMAZON.certificate,), topics=("arn:aws:sns:eu-west-1:1:other", TOPIC))
    other = AccountConfig(secrets=(AMAZON.certificate,), topics=("arn:aws:sns:eu-west-1:1:other",))
    assert outcome(AMAZON.notification(), listed) == [True]
    assert outcome(AMAZON.notification(), other) == Reason.SIGNATURE


def test_a_raw_post_names_its_topic_in_a_header() -> None:
    account = AccountConfig(secrets=("header:x-shared=s",), topics=(TOPIC,))
    ours = {"x-shared": "s", "x-amz-sns-topic-arn": TOPIC}
    body = json.dumps(SES).encode()
    told = []
    for headers in (ours, {**ours, "x-amz-sns-topic-arn": TOPIC + "2"}, {"x-amz-sns-topic-arn": TOPIC}):
        post = Post(provider="ses", account="default", body=body, headers=headers, received_at=RECEIVED)
        told.append(len(normalise(post, account).events))
    assert told == [1, 0, 0]


def test_a_list_of_topics_alone_verifies_with_the_certificates_that_came_with_the_post() -> None:
    account = AccountConfig(topics=(TOPIC,))
    assert outcome(AMAZON.notification(), account, certificates=(AMAZON.certificate,)) == [True]
    assert outcome(AMAZON.notification(), account, certificates=(OTHER.certificate,)) == Reason.SIGNATURE
    assert outcome(AMAZON.notification(), account) == Reason.SIGNATURE
    assert outcome(AMAZON.notification(), AccountConfig()) == [None]


def test_a_certificate_that_cannot_be_read_or_has_another_kind_of_key_fits_nothing() -> None:
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert outcome(AMAZON.notification(), AccountConfig(secrets=(broken,))) == Reason.SIGNATURE
    assert outcome(AMAZON.notification(), AccountConfig(secrets=("-----BEGIN",))) == Reason.SIGNATURE


@pytest.mark.parametrize(
    ("provider", "key"),
    [
        ("mailgun", " "),
        ("sendgrid", "bm8ga2V5"),
        ("sendgrid", "no base64"),
        ("resend", "whsec_"),
        ("resend", "whsec_!"),
        ("ses", "-----BEGIN CERTIFICATE-----\n"),
        ("ses", "token"),
        ("postmark", "token"),
        ("brevo", "header:X-Token"),
        ("brevo", "header:X-Token="),
        ("mailjet", "header:X-Token= "),
    ],
)
def test_a_secret_that_fits_no_post_is_told_and_fits_none(provider: str, key: str) -> None:
    assert never_fits(provider, key) is not None
    bare = Post(provider=provider, account="default", body=b'{"event": "open"}', headers={}, received_at=0)
    assert not PROVIDERS[provider].check(bare, key)


@pytest.mark.parametrize(
    ("provider", "key"),
    [
        ("mailgun", "key-1"),
        ("resend", "whsec_c2VjcmV0"),
        ("ses", AMAZON.certificate),
        ("ses", "header:X-Token=t"),
        ("postmark", "user:pass:word"),
        ("postmark", ":password"),
        ("mailjet", "token:"),
        ("brevo", "header: X-Token = t"),
        ("", "of any provider"),
    ],
)
def test_a_secret_that_may_fit_is_taken(provider: str, key: str) -> None:
    assert never_fits(provider, key) is None


def test_a_shared_header_fits_without_the_blanks_around_it() -> None:
    post = Post(provider="brevo", account="default", body=b"{}", headers={"x-token": "t"}, received_at=0)
    assert PROVIDERS["brevo"].check(post, "header: X-Token = t")
    assert not PROVIDERS["brevo"].check(post, "header:X-Token=u")
