"""Webhook bodies as SendGrid and Postmark send them (providers.md 1.1, 1.3), from what happened to one message.

Pure. May not contain: what happens, or when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stagepost.events import MICROS, rfc3339

SENDER = "news@mail.example.com"

UNSUBSCRIBE_GROUP = 17
"""SendGrid's unsubscribe group of all our campaigns."""

STREAM = "broadcast"
"""Postmark's message stream of all our campaigns."""

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one contact. ``message`` is the provider's id of it."""

    provider: str
    campaign: str
    contact: str
    address: str
    message: str


def sendgrid_event(mail: Mail, event: str, at: int, **fields: Any) -> dict[str, Any]:
    """One element of SendGrid's array; custom arguments lie flat beside the event's own keys. Whole seconds."""
    body: dict[str, Any] = {
        "email": mail.address,
        "timestamp": at // MICROS,
        "event": event,
        "sg_message_id": f"{mail.message}.recvd-6d8f7c9b5-x2k4p-1-66A1B2C3-4.0",
        "category": [mail.campaign],
        "contact_id": mail.contact,
        "campaign_id": mail.campaign,
    }
    if event in ("processed", "deferred", "delivered", "bounce", "dropped"):
        body["smtp-id"] = f"<{mail.message}@geopod-ismtpd-12>"
    if event in ("open", "click"):
        body |= {"ip": "203.0.113.24", "useragent": _BROWSER, "sg_content_type": "html"}
    return body | fields


def postmark_delivery(mail: Mail, at: int) -> dict[str, Any]:
    return _postmark("Delivery", mail) | {
        "Recipient": mail.address,
        "DeliveredAt": _seven_digits(at),
        "Details": "smtp;250 2.0.0 OK",
    }


def postmark_open(mail: Mail, at: int, first: bool) -> dict[str, Any]:
    return _postmark("Open", mail) | {
        "Recipient": mail.address,
        "FirstOpen": first,
        "ReceivedAt": _seven_digits(at),
        "Platform": "Desktop",
        "UserAgent": _BROWSER,
        "ReadSeconds": 12,
    }


def postmark_click(mail: Mail, at: int, url: str) -> dict[str, Any]:
    return _postmark("Click", mail) | {
        "Recipient": mail.address,
        "OriginalLink": url,
        "ClickLocation": "HTML",
        "ReceivedAt": _seven_digits(at),
        "Platform": "Desktop",
        "UserAgent": _BROWSER,
    }


def postmark_bounce(mail: Mail, at: int, number: int) -> dict[str, Any]:
    return _postmark("Bounce", mail) | {
        "ID": number,
        "Type": "HardBounce",
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Email": mail.address,
        "From": SENDER,
        "BouncedAt": _seven_digits(at),
        "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
        "Details": "smtp;550 5.1.1 The email account that you tried to reach does not exist",
        "Inactive": True,
        "CanActivate": True,
    }


def postmark_complaint(mail: Mail, at: int, number: int) -> dict[str, Any]:
    return _postmark("SpamComplaint", mail) | {
        "ID": number,
        "Type": "SpamComplaint",
        "TypeCode": 512,
        "Name": "Spam complaint",
        "Email": mail.address,
        "From": SENDER,
        "BouncedAt": _seven_digits(at),
        "Description": "The subscriber explicitly marked this message as spam.",
        "Inactive": True,
        "CanActivate": False,
    }


def postmark_unsubscribe(mail: Mail, at: int) -> dict[str, Any]:
    return _postmark("SubscriptionChange", mail) | {
        "Recipient": mail.address,
        "Origin": "Recipient",
        "SuppressSending": True,
        "SuppressionReason": "ManualSuppression",
        "ChangedAt": _seven_digits(at),
    }


def _postmark(record_type: str, mail: Mail) -> dict[str, Any]:
    return {
        "RecordType": record_type,
        "ServerID": 23,
        "MessageStream": STREAM,
        "MessageID": mail.message,
        "Tag": mail.campaign,
        "Metadata": {"contact_id": mail.contact, "campaign_id": mail.campaign},
    }


def _seven_digits(at: int) -> str:
    """.NET's time format.

    >>> _seven_digits(1_793_610_847_120_000)
    '2026-11-02T09:14:07.1200000Z'
    """
    text = rfc3339(at)[:-1]
    return text + "0" * (27 - len(text)) + "Z"
