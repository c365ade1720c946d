from __future__ import annotations

from stagepost.demo import bodies
from stagepost.demo.bodies import Mail
from stagepost.events import parse_rfc3339

AT = parse_rfc3339("2026-11-12T09:14:07.120Z")
SENDGRID = Mail("sendgrid", "nurture-1", "c-1", "ann@example.com", "m1")
POSTMARK = Mail("postmark", "weekly-1", "c-1", "ann@example.com", "883953f4-6105-42a2-a16a-77a8eac79483")


def test_sendgrid_reports_whole_seconds_and_custom_arguments_flat() -> None:
    event = bodies.sendgrid_event(SENDGRID, "click", AT, url="https://example.com/a")
    assert ("click", AT // 1_000_000, "c-1", "nurture-1", "https://example.com/a") == tuple(
        event[key] for key in ("event", "timestamp", "contact_id", "campaign_id", "url")
    )
    assert "smtp-id" not in event and event["sg_message_id"].startswith("m1.recvd-")


def test_sendgrid_gives_the_smtp_id_on_deliveries_only() -> None:
    given = {name for name in ("processed", "delivered", "open", "spamreport") if _has_smtp_id(name)}
    assert {"processed", "delivered"} == given


def test_postmark_bodies_have_their_own_name_for_address_and_time() -> None:
    made = [
        bodies.postmark_delivery(POSTMARK, AT),
        bodies.postmark_open(POSTMARK, AT, first=True),
        bodies.postmark_click(POSTMARK, AT, "https://example.com/a"),
        bodies.postmark_bounce(POSTMARK, AT, 1),
        bodies.postmark_complaint(POSTMARK, AT, 2),
        bodies.postmark_unsubscribe(POSTMARK, AT),
    ]
    assert [
        ("Delivery", "Recipient", "DeliveredAt"),
        ("Open", "Recipient", "ReceivedAt"),
        ("Click", "Recipient", "ReceivedAt"),
        ("Bounce", "Email", "BouncedAt"),
        ("SpamComplaint", "Email", "BouncedAt"),
        ("SubscriptionChange", "Recipient", "ChangedAt"),
    ] == [
        (
            body["RecordType"],
            next(key for key in body if body[key] == "ann@example.com"),
            next(key for key in body if body[key] == "2026-11-12T09:14:07.1200000Z"),
        )
        for body in made
    ]
    assert all({"contact_id": "c-1", "campaign_id": "weekly-1"} == body["Metadata"] for body in made)


def _has_smtp_id(name: str) -> bool:
    return "smtp-id" in bodies.sendgrid_event(SENDGRID, name, AT)
