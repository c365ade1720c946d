"""Amazon SES (providers.md 1.4; https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html).

Notifications of an identity (``notificationType``) and event publishing (``eventType``) have the same body. It arrives
by many carriers, told apart by shape: SNS over HTTP, enveloped or raw, SQS, Lambda records, Firehose, EventBridge. One
event may name several recipients. An example of an id: the bounce with feedback ``f1`` of ann@example.com in account
``default`` is the hash of ``["1", "ses", "default", "Bounce", "f1", "ann@example.com"]``, whatever carried it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from msgspec import Struct, structs

from stagepost.events import Reason, Rejected, Smtp
from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.bodies import json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.limits import Limits
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge
from stagepost.normalise.post import AccountConfig, Post
from stagepost.normalise.times import Moment

NAME = "ses"


class Kind(Struct, frozen=True):
    """One type of event: ``object`` holds what is particular to it, ``recipients`` there the addresses that it is
    about; without that it is about ``mail.destination``."""

    type: str
    object: str
    recipients: str | None = None


TYPES: Mapping[str, Kind] = {
    "Send": Kind("email.sent", "send"),
    "Delivery": Kind("email.delivered", "delivery", "recipients"),
    "Bounce": Kind("email.bounced", "bounce", "bouncedRecipients"),
    "Complaint": Kind("email.complained", "complaint", "complainedRecipients"),
    "Reject": Kind("email.dropped", "reject"),
    "Open": Kind("email.opened", "open"),
    "Click": Kind("email.clicked", "click"),
    "Rendering Failure": Kind("email.failed", "failure"),
    "DeliveryDelay": Kind("email.deferred", "deliveryDelay", "delayedRecipients"),
    "Subscription": Kind("email.unsubscribed", "subscription"),
}
"""Everything else is ``email.unknown``, with the category below where one is known."""

UNKNOWN: Mapping[str, str] = {"Received": "inbound"}

DETAIL_TYPES: Mapping[str, str] = {
    # EventBridge's detail-type, for a detail that does not say its type itself
    "Email Sent": "Send",
    "Email Delivered": "Delivery",
    "Email Bounced": "Bounce",
    "Email Complaint Received": "Complaint",
    "Email Rejected": "Reject",
    "Email Opened": "Open",
    "Email Clicked": "Click",
    "Email Rendering Failed": "Rendering Failure",
    "Email Delivery Delayed": "DeliveryDelay",
    "Email Subscribed": "Subscription",
}

BOUNCES: Mapping[str, str] = {"Permanent": "hard", "Transient": "soft", "Undetermined": "undetermined"}

BLOCKS = frozenset({"ContentRejected", "AttachmentRejected"})
"""Sub-types that are about the mail, not the mailbox."""

FEEDBACK = frozenset({"abuse", "fraud", "virus", "auth-failure", "other"})

_NEVER_SENT = re.compile(r"Suppressed|On\w*SuppressionList")
"""Sub-types of bounces and complaints that SES made up itself: the address was on a suppression list."""

_PINGS = ("Successfully validated SNS topic",)
"""Text that SES publishes when a topic is set up."""

_PING_TYPE = "AmazonSnsSubscriptionSucceeded"

_CARRIERS = 6
"""Carriers inside carriers: SQS of SNS of Firehose of EventBridge are four."""

_FOLDED = {name.replace(" ", "").lower(): name for name in TYPES}


class Carried(Struct, frozen=True):
    """One SES event out of its carriers. ``event`` None: a carrier's own business, nothing to tell."""

    event: Mapping[str, Any] | None
    name: str | None = None
    """EventBridge's detail-type."""
    time: Moment | None = None
    """Of the innermost carrier that says one: it is nearest to the event."""
    envelope: Mapping[str, Any] | None = None
    """SNS, which may be signed."""


def parts(post: Post) -> list[Any] | Rejected:
    """The SES events of a post with the time of their carrier."""
    found = _carried(post.body, post.limits)
    if isinstance(found, Rejected):
        return found
    if sum(_recipients_named(each) for each in found) > post.limits.parts:
        return Rejected(Reason.OVERSIZE, f"more than {post.limits.parts} recipients and topics")
    return [
        each if isinstance(each, Rejected) else {"event": each.event, "name": each.name, "time": each.time}
        for each in found
    ]


def _recipients_named(carried: Carried | Rejected) -> int:
    """At most so many events come of it."""
    if isinstance(carried, Rejected) or carried.event is None:
        return 1
    lists = [values.mapping(carried.event.get("mail")).get("destination")]
    for kind in TYPES.values():
        about = values.mapping(carried.event.get(kind.object))
        lists.append(about.get(kind.recipients) if kind.recipients is not None else None)
        lists.append(values.mapping(about.get("newTopicPreferences")).get("topicSubscriptionStatus"))
    return max(len(each) if isinstance(each, list) else 1 for each in lists)


def check(post: Post, key: str) -> bool:
    """A certificate verifies SNS envelopes, all that the post holds; what SNS did not sign has a shared secret."""
    if "-----BEGIN" not in key:
        return signatures.shared_secret(post, key)
    found = _carried(post.body, post.limits)
    if isinstance(found, Rejected):
        return False
    envelopes = [each.envelope for each in found if isinstance(each, Carried)]
    return len(envelopes) == len(found) and all(
        envelope is not None and signatures.sns(envelope, key) for envelope in envelopes
    )


def admits(post: Post, account: AccountConfig) -> bool:
    """Whether all topics that the post names are listed; an account without a list takes every topic."""
    if not account.topics:
        return True
    found = _carried(post.body, post.limits)
    if isinstance(found, Rejected):
        return True
    named = {
        values.raw(each.envelope.get("TopicArn"))
        for each in found
        if isinstance(each, Carried) and each.envelope is not None
    }
    if "x-amz-sns-topic-arn" in post.headers:
        named.add(post.headers["x-amz-sns-topic-arn"])
    return all(topic in account.topics for topic in named)


def certificate_urls(post: Post, account: AccountConfig) -> tuple[str, ...]:
    """Where the certificates of a post's listed topics lie, each once; on Amazon's host of the topic's own region only,
    so that no post makes anybody ask a host that never answers."""
    found = _carried(post.body, post.limits)
    if isinstance(found, Rejected):
        return ()
    named = (
        _certificate_url(each.envelope, account)
        for each in found
        if isinstance(each, Carried) and each.envelope is not None
    )
    return tuple(dict.fromkeys(url for url in named if url is not None))


def confirmation_url(post: Post, account: AccountConfig) -> str | None:
    """What to call to confirm the subscription that a post asks to confirm, made of topic and token alone: the URL that
    the post names is nobody's to call. None: it asks for nothing, or for a topic that is not listed."""
    found = _carried(post.body, post.limits)
    for each in found if isinstance(found, list) else ():
        envelope = each.envelope if isinstance(each, Carried) else None
        if envelope is None or envelope.get("Type") != "SubscriptionConfirmation":
            continue
        topic, token = values.raw(envelope.get("TopicArn")), values.raw(envelope.get("Token"))
        arn = _TOPIC_ARN.fullmatch(topic)
        if arn is None or topic not in account.topics or not token:
            continue
        host = f"sns.{arn['region']}.amazonaws.com{'.cn' if arn['partition'] == 'aws-cn' else ''}"
        return f"https://{host}/?" + urlencode({"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token})
    return None


_TOPIC_ARN = re.compile(r"arn:(?P<partition>aws[a-z-]*):sns:(?P<region>[a-z0-9-]{1,32}):\d{12}:[A-Za-z0-9_.-]{1,256}")


def _certificate_url(envelope: Mapping[str, Any], account: AccountConfig) -> str | None:
    topic, url = values.raw(envelope.get("TopicArn")), signatures.sns_certificate_url(envelope)
    region = topic.split(":")[3] if topic in account.topics and topic.count(":") == 5 else None
    return url if url is not None and url.split(".")[1] == region else None


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """One event for each recipient, and for each changed topic; None when no type is said."""
    event = part["event"]
    if event is None:
        return []
    name = part["name"]
    told = values.text(event.get("eventType")) or values.text(event.get("notificationType"))
    if told == _PING_TYPE:
        return []
    told = told or (DETAIL_TYPES.get(name, name) if name is not None else None)
    if told is None:
        return None
    told = _FOLDED.get(told.replace(" ", "").lower(), told)
    kind = TYPES.get(told)
    if kind is not None:
        return _facts(event, told, kind, part["time"])
    category = "account" if name is not None and name not in DETAIL_TYPES else UNKNOWN.get(told, "other")
    found = _facts(event, told, Kind("email.unknown", told[:1].lower() + told[1:]), part["time"])
    return [structs.replace(each, extra={**each.extra, "category": category}) for each in found]


def _facts(event: Mapping[str, Any], told: str, kind: Kind, carried_at: Moment | None) -> list[Facts]:
    mail = values.mapping(event.get("mail"))
    about = values.mapping(event.get(kind.object))
    type_, extra = _classified(kind.type, about)
    # Send, Reject and Rendering Failure have no time but the send's; of all others that are known it is the wrong one.
    own = about.get("timestamp")
    moment = times.iso(own) if own is not None else None
    if moment is None and kind.type in ("email.sent", "email.dropped", "email.failed", "email.unknown"):
        moment = times.iso(mail.get("timestamp"))
    feedback_id = values.text(about.get("feedbackId"))
    message = values.unbracketed(mail.get("messageId"))
    tags = {name: values.strings(value) for name, value in values.mapping(mail.get("tags")).items()}
    ip = about.get("ipAddress")
    common = values.mapping(mail.get("commonHeaders"))
    facts = Facts(
        type=type_,
        moment=moment if moment is not None else _assumed(carried_at),
        recipient=None,
        id_parts=(told, feedback_id)
        if feedback_id is not None and told in ("Bounce", "Complaint")
        else (told, message or "", values.raw(own), values.raw(about.get("link")), values.raw(ip)),
        provider_event=told,
        message=message,
        metadata={name: found[0] for name, found in tags.items() if found and not name.startswith("ses:")},
        campaigns={"campaign": next(iter(tags.get("campaign", ())), None)},
        url=values.text(about.get("link")) if told == "Click" else None,
        verdict=_verdict(told, about),
        mail_headers=_mail_headers(mail.get("headers")),
        extra={
            **extra,
            "provider_event_id": feedback_id,
            "rfc_message_id": values.unbracketed(common.get("messageId")),
            "list_id": values.text(about.get("contactList")),
            "template": values.text(about.get("templateName")),
            "sending_domain": domain_of(mail.get("source")),
            "ip": truncated_ip(ip),
            "user_agent": values.text(about.get("userAgent")),
        },
    )
    found = [
        structs.replace(
            facts, recipient=address, certainty=certainty, extra={**facts.extra, "smtp": _smtp(about, told_of)}
        )
        for address, certainty, told_of in _recipients(type_, kind, mail, about)
    ]
    return [changed for each in found for changed in _changes(each, about)] if told == "Subscription" else found


def _assumed(carried_at: Moment | None) -> Moment | None:
    return Moment(carried_at.at, "assumed") if carried_at is not None else None


def _classified(type_: str, about: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if type_ == "email.bounced":
        return _bounce(values.raw(about.get("bounceType")), values.raw(about.get("bounceSubType")))
    if type_ == "email.complained":
        if _NEVER_SENT.fullmatch(values.raw(about.get("complaintSubType"))):
            return "email.dropped", {"reason": "suppressed"}
        feedback = values.raw(about.get("complaintFeedbackType")).lower()
        if feedback == "not-spam":
            return "email.unknown", {"category": "not_spam"}
        return type_, {"feedback": feedback if feedback in FEEDBACK else "other" if feedback else None}
    if type_ == "email.dropped":
        return type_, {"reason": "content"}
    if type_ == "email.failed":
        return type_, {"reason": values.text(about.get("errorMessage"))}
    if type_ == "email.deferred":
        return type_, {"reason": values.text(about.get("delayType"))}
    return type_, {}


def _bounce(type_: str, sub_type: str) -> tuple[str, dict[str, Any]]:
    if _NEVER_SENT.fullmatch(sub_type):
        return "email.dropped", {"reason": "suppressed"}
    if sub_type == "EmailValidationSuppressed":
        return "email.dropped", {"reason": "invalid"}
    found = BOUNCES.get(type_, "undetermined")
    return "email.bounced", {"bounce_class": "block" if found == "soft" and sub_type in BLOCKS else found}


def _recipients(
    type_: str, kind: Kind, mail: Mapping[str, Any], about: Mapping[str, Any]
) -> list[tuple[Any, Literal["exact", "candidate"], Mapping[str, Any]]]:
    """(address, certainty, what is told of it). Engagement names the mail's recipients: the first of several stands for
    whoever acted. Complaints name who may have complained, and all are taken at their word."""
    listed = about.get(kind.recipients) if kind.recipients is not None else None
    if isinstance(listed, list) and listed:
        # What SES did not send because of its list, it says of each address for certain.
        doubtful = kind.object == "complaint" and type_ != "email.dropped" and len(listed) > 1
        certain: Literal["exact", "candidate"] = "candidate" if doubtful else "exact"
        return [
            (each.get("emailAddress") if isinstance(each, dict) else each, certain, values.mapping(each))
            for each in listed
        ]
    addresses, certainty = _of_the_mail(mail)
    if kind.object in ("open", "click", "subscription") or kind.type == "email.unknown":
        addresses = addresses[:1]
    elif type_ in ("email.sent", "email.delivered", "email.dropped", "email.failed"):
        certainty = "exact"
    return [(address, certainty, {}) for address in addresses or [None]]


def _of_the_mail(mail: Mapping[str, Any]) -> tuple[list[Any], Literal["exact", "candidate"]]:
    destination = mail.get("destination")
    addresses = destination if isinstance(destination, list) else [destination] if destination is not None else []
    return addresses, "candidate" if len(addresses) > 1 else "exact"


def _changes(facts: Facts, about: Mapping[str, Any]) -> Iterator[Facts]:
    """A Subscription's changes: of the whole list, and of each topic; either may go either way."""
    new, old = values.mapping(about.get("newTopicPreferences")), values.mapping(about.get("oldTopicPreferences"))
    source = values.raw(about.get("source")).lower()
    method = "header" if "header" in source else "link" if "link" in source else None
    all_now, all_before = (values.boolean(each.get("unsubscribeAll")) for each in (new, old))
    before = _topics(old)
    changed = {name: status for name, status in _topics(new).items() if before.get(name) != status}
    whole = {"scope": "list", "scope_id": facts.extra.get("list_id"), "method": method}
    # A withdrawal that was there before is told again rather than lost, if it is all that the event says.
    if all_now and (not all_before or not changed):
        yield _change(facts, True, whole)
    elif all_before and all_now is False:
        yield _change(facts, False, whole)
    for name, status in changed.items():
        if status in ("optin", "optout"):
            changed_topic = _change(facts, status == "optout", {"scope": "topic", "scope_id": name, "method": method})
            yield structs.replace(changed_topic, id_parts=(*facts.id_parts, name))


def _change(facts: Facts, withdrawn: bool, extra: Mapping[str, Any]) -> Facts:
    type_ = "email.unsubscribed" if withdrawn else "email.resubscribed"
    return structs.replace(facts, type=type_, extra={**facts.extra, **extra})


def _topics(preferences: Mapping[str, Any]) -> dict[str, str]:
    listed = preferences.get("topicSubscriptionStatus")
    found = (values.mapping(each) for each in (listed if isinstance(listed, list) else []))
    return {
        name: values.raw(each.get("subscriptionStatus")).lower().replace("_", "")
        for each in found
        if (name := values.text(each.get("topicName"))) is not None
    }


def _mail_headers(headers: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for header in headers if isinstance(headers, list) else []:
        given = values.mapping(header)
        name, value = values.text(given.get("name")), values.text(given.get("value"))
        if name is not None and value is not None:
            found[name.lower()] = (*found.get(name.lower(), ()), value)
    return found


def _verdict(told: str, about: Mapping[str, Any]) -> Verdict:
    return judge(about.get("userAgent"), is_open=told == "Open") if told in ("Open", "Click") else NO_VERDICT


def _smtp(about: Mapping[str, Any], recipient: Mapping[str, Any]) -> Smtp | None:
    told = values.text(recipient.get("diagnosticCode")) or about.get("smtpResponse")
    return answers.smtp(told, enhanced=recipient.get("status"))


def _carried(body: bytes, limits: Limits) -> list[Carried | Rejected] | Rejected:
    """The SES events of a body, out of all carriers that it came in."""
    if body.strip().startswith(tuple(text.encode() for text in _PINGS)):
        return [Carried(None)]
    found = json_parts(body, limits)
    if isinstance(found, Rejected):
        return found
    carried: list[Carried | Rejected] = []
    for value in found:
        for each in _unpacked(value, Carried(None), _CARRIERS, limits):
            if len(carried) == limits.parts:
                return Rejected(Reason.OVERSIZE, f"more than {limits.parts} parts")
            carried.append(each)
    return carried


def _unpacked(value: Any, outer: Carried, carriers: int, limits: Limits) -> Iterator[Carried | Rejected]:
    """What a value carries, told by its shape; ``outer`` is what the carriers around it said."""
    if isinstance(value, Rejected):
        yield value
    elif not isinstance(value, dict):
        yield Rejected(Reason.SCHEMA, "not an object")
    elif carriers == 0:
        yield Rejected(Reason.SCHEMA, f"more than {_CARRIERS} carriers inside each other")
    elif isinstance(value.get("Records"), list):  # Lambda, of SNS or of SQS
        for record in value["Records"]:
            yield from _unpacked(_record(record), outer, carriers - 1, limits)
    elif isinstance(value.get("records"), list):  # Firehose over HTTP
        time = times.unix(value.get("timestamp"))
        for record in value["records"]:
            yield from _from_text(_unencoded(values.mapping(record).get("data")), _timed(outer, time), carriers, limits)
    elif "Message" in value and ("Type" in value or "TopicArn" in value):
        outer = structs.replace(_timed(outer, times.iso(value.get("Timestamp"))), envelope=value)
        if value.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            yield structs.replace(outer, event=None)
        else:
            yield from _from_text(value["Message"], outer, carriers, limits)
    elif "Body" in value or "body" in value:  # SQS, as its interface and as Lambda spell it
        yield from _from_text(value.get("Body", value.get("body")), outer, carriers, limits)
    elif isinstance(value.get("detail"), dict):  # EventBridge
        outer = structs.replace(_timed(outer, times.iso(value.get("time"))), name=values.text(value.get("detail-type")))
        yield structs.replace(outer, event=value["detail"])
    else:
        yield structs.replace(outer, event=value)


def _timed(outer: Carried, time: Moment | None) -> Carried:
    return outer if time is None else structs.replace(outer, time=time)


def _record(record: Any) -> Any:
    """An SNS envelope out of its Lambda record; an SQS message is one already."""
    return record["Sns"] if isinstance(record, dict) and "Sns" in record else record


def _unencoded(data: Any) -> Any:
    """The bytes of a Firehose record, or why there are none."""
    if not isinstance(data, str):
        return Rejected(Reason.SCHEMA, "a record without data")
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return Rejected(Reason.UNDECODABLE, "a record that is not base64")


def _from_text(text: Any, outer: Carried, carriers: int, limits: Limits) -> Iterator[Carried | Rejected]:
    """What a carrier's text holds, itself a body; an object in place of the text is taken as it is."""
    if isinstance(text, dict | Rejected):
        yield from _unpacked(text, outer, carriers - 1, limits)
        return
    if not isinstance(text, str | bytes):
        yield Rejected(Reason.SCHEMA, "a carrier without a message")
        return
    body = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if body.strip().startswith(tuple(ping.encode() for ping in _PINGS)):
        yield structs.replace(outer, event=None)
        return
    found = json_parts(body, limits)
    if isinstance(found, Rejected):
        yield found
        return
    if not found:
        yield structs.replace(outer, event=None)
    for value in found:
        yield from _unpacked(value, outer, carriers - 1, limits)
