"""What Amazon SNS sends and signs, with keys made for the test."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:111122223333:mail"
SES = {"eventType": "Send", "mail": {"timestamp": "2026-11-02T09:14:00Z", "destination": ["ann@example.com"]}}
URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


class SnsKeys:
    """A key with its certificate, and the texts that SNS signs, spelled out."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2026, 1, 1))  # noqa: DTZ001 - x509 takes naive UTC
            .not_valid_after(datetime(2027, 1, 1))  # noqa: DTZ001
            .sign(self._key, SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )

    def sign(self, text: str, version: str) -> str:
        hash_ = SHA1() if version == "1" else SHA256()
        return base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hash_)).decode()

    def notification(self, message: object = SES, version: str = "1", **fields: Any) -> dict[str, Any]:
        envelope = {
            "Type": "Notification",
            "MessageId": "m-1",
            "TopicArn": TOPIC,
            "Subject": "Amazon SES Email Event Notification",
            "Message": json.dumps(message) + "\n",
            "Timestamp": "2026-11-02T09:15:00.000Z",
            "SignatureVersion": version,
            "SigningCertURL": URL,
            **fields,
        }
        envelope = {name: value for name, value in envelope.items() if value is not ...}
        subject = f"Subject\n{envelope['Subject']}\n" if envelope.get("Subject") is not None else ""
        text = (
            f"Message\n{envelope['Message']}\nMessageId\nm-1\n{subject}Timestamp\n{envelope['Timestamp']}\n"
            f"TopicArn\n{envelope['TopicArn']}\nType\nNotification\n"
        )
        return {**envelope, "Signature": self.sign(text, version)}

    def confirmation(self, topic: str = TOPIC, token: str = "a b") -> dict[str, Any]:
        envelope = {
            "Type": "SubscriptionConfirmation",
            "MessageId": "m-2",
            "Token": token,
            "TopicArn": topic,
            "Message": "You have chosen to subscribe to the topic.",
            "SubscribeURL": "https://evil.example/",
            "Timestamp": "2026-11-02T09:15:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": URL,
        }
        names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
        return {**envelope, "Signature": self.sign("".join(f"{name}\n{envelope[name]}\n" for name in names), "2")}
