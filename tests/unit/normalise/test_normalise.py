"""What holds for every provider: whole bodies, signatures, bounds; and that no bytes raise or harm a neighbour."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from stagepost.events import DAY, MICROS, Reason, parse_rfc3339
from stagepost.normalise import PROVIDERS, AccountConfig, Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
GOOD = {"event": "delivered", "email": "ann@example.com", "timestamp": RECEIVED // MICROS - 9, "contact_id": "c-1"}


def post(body: bytes, provider: str = "sendgrid", **headers: str) -> Post:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Post(provider=provider, account="default", body=body, headers=named, received_at=RECEIVED)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"nope", Reason.UNDECODABLE),
        (b'[{"event": NaN}]', Reason.UNDECODABLE),
        (b'[{"event": 1e999}]', Reason.UNDECODABLE),
        (json.dumps([GOOD]).encode()[:-3], Reason.UNDECODABLE),
        (b'[{"event": "\xff"}]', Reason.UNDECODABLE),
        (b"[" * 40 + b"]" * 40, Reason.OVERSIZE),
        (b"[" * 500_000, Reason.OVERSIZE),
        (b"[" + b"1," * 10_000 + b"1]", Reason.OVERSIZE),
        (b" " * (8 << 20) + b"[]", Reason.OVERSIZE),
    ],
)
def test_a_body_that_cannot_be_read_is_rejected_whole(body: bytes, reason: Reason) -> None:
    (rejected,) = normalise(post(body)).rejected
    assert (rejected.reason, rejected.part) == (reason, None)


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"[]", b"\xef\xbb\xbf[]"])
def test_an_empty_post_is_understood_and_tells_nothing(body: bytes) -> None:
    assert normalise(post(body)) == Normalised(without_event=1)


def test_a_byte_order_mark_is_tolerated_and_integers_keep_their_digits() -> None:
    body = b"\xef\xbb\xbf" + json.dumps([{**GOOD, "order": 12345678901234567890123}]).encode()
    (event,) = normalise(post(body)).events
    assert event.metadata["order"] == "12345678901234567890123"


def test_an_unknown_provider_is_a_reason_of_its_own() -> None:
    assert [r.reason for r in normalise(post(b"[]", "pigeon")).rejected] == [Reason.UNKNOWN_PROVIDER]


class Signer:
    """SendGrid's scheme with a key made for the test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = base64.b64encode(spki).decode()

    def headers(self, body: bytes, at: int = RECEIVED) -> dict[str, str]:
        timestamp = str(at // MICROS)
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        return {
            "x_twilio_email_event_webhook_timestamp": timestamp,
            "x_twilio_email_event_webhook_signature": base64.b64encode(signature).decode(),
        }


BODY = json.dumps([GOOD]).encode() + b"\r\n"


def verified(body: bytes, account: AccountConfig, headers: dict[str, str], provider: str = "sendgrid") -> Any:
    result = normalise(post(body, provider, **headers), account)
    return result.events[0].verified if result.events else result.rejected[0].reason


def test_a_signed_post_passes_with_any_of_the_keys_over_its_raw_bytes() -> None:
    signer, other = Signer(), Signer()
    account = AccountConfig(secrets=(other.public, signer.public))
    assert verified(BODY, account, signer.headers(BODY)) is True
    assert verified(BODY.replace(b"ann", b"bob"), account, signer.headers(BODY)) == Reason.SIGNATURE
    assert verified(BODY, AccountConfig(secrets=(other.public,)), signer.headers(BODY)) == Reason.SIGNATURE
    assert verified(BODY, account, {}) == Reason.SIGNATURE
    assert verified(BODY, AccountConfig(secrets=("no key",)), signer.headers(BODY)) == Reason.SIGNATURE


@pytest.mark.parametrize(
    ("age", "expected"), [(DAY, True), (DAY + MICROS, Reason.SIGNATURE), (-DAY - MICROS, Reason.SIGNATURE)]
)
def test_the_window_of_a_signature_is_measured_against_received_at_both_ways(age: int, expected: object) -> None:
    signer = Signer()
    assert verified(BODY, AccountConfig(secrets=(signer.public,)), signer.headers(BODY, RECEIVED - age)) == expected


def test_what_an_account_does_with_signatures() -> None:
    signer = Signer()
    keys = (signer.public,)
    assert verified(BODY, AccountConfig(), {}) is None
    assert verified(BODY, AccountConfig(secrets=keys, signature="off"), {}) is None
    assert verified(BODY, AccountConfig(secrets=keys, signature="mark"), {}) is False
    assert verified(BODY, AccountConfig(signature="require"), {}) == Reason.SIGNATURE
    assert normalise(post(b"[]"), AccountConfig(secrets=keys)) == Normalised(without_event=1)


DELIVERY = json.dumps({"RecordType": "Delivery", "Recipient": "ann@example.com", "MessageID": "m"}).encode()


@pytest.mark.parametrize(
    ("secret", "headers", "expected"),
    [
        ("user:pass", {"authorization": "Basic " + base64.b64encode(b"user:pass").decode()}, True),
        ("user:pass", {"authorization": "Basic " + base64.b64encode(b"user:wrong").decode()}, Reason.SIGNATURE),
        ("user:pass", {"authorization": "Basic ###"}, Reason.SIGNATURE),
        ("user:pass", {}, Reason.SIGNATURE),
        ("header:X-Token=abc", {"x_token": "abc"}, True),
        ("header:X-Token=abc", {"x_token": "abd"}, Reason.SIGNATURE),
    ],
)
def test_a_shared_secret_is_basic_authentication_or_a_header(
    secret: str, headers: dict[str, str], expected: object
) -> None:
    assert verified(DELIVERY, AccountConfig(secrets=(secret,)), headers, "postmark") == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = (
    "event email timestamp url useragent ip type reason response status category sg_message_id smtp-id asm_group_id "
    "newsletter RecordType Type Recipient Email MessageID ID DeliveredAt BouncedAt ReceivedAt Metadata Tag Geo From"
).split()


@given(st.sampled_from(sorted(PROVIDERS)), st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise(provider: str, body: bytes) -> None:
    result = normalise(post(body, provider))
    assert result.parts >= 1


@given(
    st.sampled_from(sorted(PROVIDERS)),
    st.lists(
        st.dictionaries(
            st.sampled_from(_KEYS), _JSON | st.sampled_from(["bounce", "click", "Bounce", "Click"]), max_size=9
        )
        | _JSON,
        max_size=4,
    ),
)
def test_whatever_stands_in_a_part_the_sum_closes_and_a_good_neighbour_survives(
    provider: str, parts: list[Any]
) -> None:
    good = GOOD | {"RecordType": "Delivery", "Recipient": "ann@example.com", "Metadata": {"contact_id": "c-1"}}
    result = normalise(post(json.dumps([*parts, good]).encode(), provider))
    assert result.events[-1].contact == "c-1"
    assert result.parts == len(parts) + 1


@given(st.integers(0, 200), st.binary(max_size=3))
def test_a_cut_or_mutated_body_gives_events_or_reasons(place: int, junk: bytes) -> None:
    body = BODY[:place] + junk + BODY[place + 2 :]
    assert normalise(post(body)).parts >= 1
