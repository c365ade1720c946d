"""The records on Kafka as pydantic models, for their JSON Schema (design.md 3, alerts.md 6).

Field for field what ``events.py`` and ``alerts/record.py`` read and write; readers must take keys that they do not
know.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from stagepost.alerts.lifecycle import AlertReason, Severity
from stagepost.schemas.telling import Absent, told

_AT = "2026-11-02T09:14:07.120Z"


class _Record(BaseModel):
    """Keys may be added in later versions."""

    model_config = ConfigDict(populate_by_name=True)


# email.events


class Smtp(_Record):
    """What the receiving mail server answered."""

    code: int | None = told("Reply code.", 550, default=None)
    enhanced: str | None = told("Enhanced status code.", "5.1.1", default=None)
    text: str | None = told("The words of the reply.", "no such user", default=None)


class RawPlace(_Record):
    """Where on email.raw the event was read from."""

    part: int = told("Place in the body, from 0.", 0)
    topic: str | None = told("Topic.", "email.raw", default=None)
    partition: int | None = told("Partition.", 3, default=None)
    offset: int | None = told("Offset.", 88_412, default=None)


class Event(_Record):
    """One event on email.events, keyed by contact: from an e-mail provider, or published by the company itself.

    A type outside ``email.*`` and ``contact.*`` is a custom activity, its ``data`` free.
    """

    model_config = ConfigDict(title="stagepost event")

    id: str = told(
        "Unique; a second event with the same id is a duplicate.", "order-5512", min_length=1, max_length=256
    )
    type: str = told(
        "email.* or contact.* of the vocabulary, else a custom activity; has a dot.",
        "order.completed",
        "email.clicked",
        max_length=256,
        pattern=r"\.",
    )
    occurred_at: str = told("When it happened: RFC 3339 with a zone.", _AT)
    received_at: str | None = told("When the bridge received it.", _AT, default=None)
    contact: str = told("Who it is about, and the key of the record.", "c-8841", min_length=1, max_length=256)
    recipient: str | None = told("Address that the mail went to.", "ann@example.com", default=None)
    provider: str | None = told("E-mail provider that reported it.", "sendgrid", default=None)
    account: str | None = told("Account at the provider.", "default", default=None)
    campaign: str | None = told("Campaign of the send.", "nurture-3", default=None)
    message: str | None = told("The provider's id of the message.", "14c5d75ce93", default=None)
    url: str | None = told("Link that was clicked.", "https://example.com/pricing/teams", default=None)
    first: bool | None = told("First open or click of this message by this recipient, if known.", True, default=None)
    machine: bool | None = told(
        "Done by a program and not a person; null: the provider does not say.", False, default=None
    )
    machine_reasons: list[str] = told("Why it was taken for a program's.", ["privacy_proxy"], default=[])
    test: bool = told("Counted and otherwise ignored.", False, default=False)
    tags: list[str] = told("Tags of the send.", ["spring"], default=[])
    metadata: dict[str, Any] = told("Own keys that travelled with the send.", {"contact_id": "c-8841"}, default={})
    data: dict[str, Any] = told(
        "Content of a custom activity; conditions look here first.", {"total": 129.0}, default={}
    )
    bounce_class: Absent[str] = told("hard, soft, block or undetermined.", "hard", alias="class", default=None)
    reason: Absent[str] = told("Why it was dropped, failed, deferred or suppressed.", "invalid", default=None)
    scope: Absent[str] = told(
        "What a withdrawal or subscription covers: all, domain, group, list...", "list", default=None
    )
    scope_id: Absent[str] = told("Which one of that scope.", "newsletter", default=None)
    method: Absent[str] = told("How it was withdrawn: header, link, page, api or reply.", "link", default=None)
    feedback: Absent[str] = told("Kind of a complaint.", "abuse", default=None)
    asynchronous: Absent[bool] = told("A bounce after the delivery.", True, alias="async", default=None)
    machine_kind: Absent[str] = told("Kind of program.", "privacy_proxy", default=None)
    variant: Absent[str] = told("Second report of the same thing: initial or unique.", "unique", default=None)
    amp: Absent[bool] = told("In the AMP part of the mail.", False, default=None)
    kind: Absent[str] = told("Kind of a reply.", "auto_reply", default=None)
    action: Absent[str] = told("add or remove, of a suppression list.", "add", default=None)
    category: Absent[str] = told("What an email.unknown is about.", "inbound", default=None)
    purpose: Absent[str] = told(
        "What consent is given or withdrawn for; missing: everything.", "tracking", default=None
    )
    occurred_precision: Absent[str] = told("s, ms, us, assumed or clamped.", "s", default=None)
    provider_event: Absent[str] = told("The provider's own name for it.", "group_unsubscribe", default=None)
    provider_event_id: Absent[str] = told("The provider's own id of it.", "sg-1", default=None)
    rfc_message_id: Absent[str] = told("Message-ID header, without angle brackets.", "a1@example.com", default=None)
    batch: Absent[str] = told("Batch of the send.", "b-7", default=None)
    template: Absent[str] = told("Template of the send.", "welcome", default=None)
    stream: Absent[str] = told("Message stream.", "broadcast", default=None)
    list_id: Absent[str] = told("List that the mail went to.", "newsletter", alias="list", default=None)
    sending_domain: Absent[str] = told("Domain that the mail came from.", "m.example.com", default=None)
    campaign_name: Absent[str] = told("Name of the campaign beside its id.", "Spring news", default=None)
    recipient_raw: Absent[str] = told("The address as it was written.", "Ann <Ann@example.com>", default=None)
    recipient_certainty: Absent[str] = told("exact, candidate or none.", "exact", default=None)
    link_id: Absent[str] = told("The provider's id of the link.", "2", default=None)
    ip: Absent[str] = told("Network that it came from, truncated.", "203.0.113.0", default=None)
    user_agent: Absent[str] = told("Program that it came from.", "Mozilla/5.0", default=None)
    smtp: Absent[Smtp] = told("Answer of the receiving server.", {"code": 550, "enhanced": "5.1.1"}, default=None)
    attempt: Absent[int] = told("Number of the delivery attempt.", 2, default=None)
    verified: Absent[bool] | None = told("Whether its signature was proved; null: unproved.", True, default=None)
    raw: Absent[RawPlace] = told("Where it came from on email.raw.", {"part": 0}, default=None)
    cut: Absent[list[str]] = told("Fields that were shortened to their limit.", ["user_agent"], default=None)
    v: Absent[int] = told("Version of this form.", 1, default=None)


# journey.transitions


class Cause(_Record):
    """The event that moved the contact."""

    id: str = told("Id of the event.", "0be9a5490c74d0445ecc649ce598a942")
    type: str = told("Type of the event.", "email.clicked")
    campaign: str | None = told("Its campaign.", "nurture-3", default=None)
    message: str | None = told("Its message.", "14c5d75ce93", default=None)
    url: str | None = told("Link clicked, without query string.", "https://example.com/pricing/teams", default=None)
    machine: bool | None = told("Whether it was a program's; null: not known.", False, default=None)


class TimerRef(_Record):
    """The timer that moved the contact."""

    name: str = told("stall, quiet, no_click, missed, stuck or after.", "quiet")
    due: str = told("When it was due.", _AT)


class Credit(_Record):
    """The send that earned the move."""

    campaign: str | None = told("Campaign of the send.", "nurture-3")
    message: str | None = told("Its message.", "14c5d75ce93")
    at: str = told("When the event was that earns the credit.", _AT)
    how: str = told("direct: the cause names the send; last_click: the last human click before.", "direct")


class SendRef(_Record):
    """The last send delivered to the contact."""

    campaign: str | None = told("Campaign of the send.", "nurture-3")
    message: str | None = told("Its message.", "14c5d75ce93")
    at: str = told("When it was delivered.", _AT)


class Transition(_Record):
    """One record of journey.transitions, keyed by contact: a contact moved, or stalled."""

    model_config = ConfigDict(title="stagepost transition")

    id: str = told("The same for the same move, after a crash too.", "1699ee9bc3877cee221b0b2dc72f1bdd")
    journey: str = told("Name of the journey.", "webinar-nurture")
    version: str = told("Version of its definition.", "3daa4227")
    contact: str = told("Who moved.", "c-8841")
    run: str = told("Contact, journey and number of the run.", "c-8841/webinar-nurture/1")
    from_: str | None = told("Place before; null on the first move of a run.", "engaged", alias="from")
    to: str = told("Place after: a stage, a setback or an exit.", "interested")
    kind: str = told("enter, advance, setback, recover, stall, exit, reenter or migrate.", "advance")
    at: str = told("When, by the time of the event or timer; never before the record before.", _AT)
    rule: str = told("Path of the rule in the journey file.", "stages.interested")
    cause: Cause | None = told("The event; null for a timer.", None)
    timer: TimerRef | None = told("The timer; null for an event.", {"name": "quiet", "due": _AT})
    credit: Credit | None = told("The send that earned the move, or null.", None)
    last_send: SendRef | None = told("The last send delivered before, or null.", None)
    goal: bool = told("This move reached the goal in time.", False)
    move: int = told("Number of the record in its run, from 1.", 2)
    dwell_s: int | float | None = told("Seconds since the move before; null on the first of a run.", 86_400)
    best: str | None = told("Highest stage so far in this run.", "interested")
    late: bool = told("Its event is older than the contact's record before.", False)
    replay: bool = told("Made by a replay, not live.", False, default=False)


# journey.contacts


class Membership(_Record):
    """One record of journey.contacts, keyed by journey/contact: the newest says where the contact is."""

    model_config = ConfigDict(title="stagepost membership")

    journey: str = told("Name of the journey.", "webinar-nurture")
    contact: str = told("Who.", "c-8841")
    run: str = told("Contact, journey and number of the run.", "c-8841/webinar-nurture/1")
    stage: str = told("Stage or setback; after the end of the run, the exit.", "interested")
    since: str = told("Since when.", _AT)
    best: str | None = told("Highest stage so far in this run.", "interested")
    status: Literal["active", "exited"] = told("Whether the run goes on.", "active")
    goal: bool = told("The goal was reached in time in this run.", False)
    version: str = told("Version of the journey's definition.", "3daa4227")
    flags: list[str] = told("stalled: the stay is longer than stalls_after.", ["stalled"], default=[])


# email.metrics


class MetricScope(_Record):
    """What is counted."""

    type: str = told("Kind of scope.", "campaign")
    id: str = told("Which one.", "nurture-3")


class Rate(_Record):
    """A share with its numerator and denominator."""

    n: int = told("Numerator.", 48)
    of: int = told("Denominator.", 1180)
    base: str = told("What the denominator counts.", "delivered")


class Metric(_Record):
    """One record of email.metrics: the counts of one window of one scope; a higher rev replaces a lower one."""

    model_config = ConfigDict(title="stagepost metric window")

    scope: MetricScope = told(
        "Campaign, or another scope, that the counts are of.", {"type": "campaign", "id": "nurture-3"}
    )
    window: Literal["5m", "1h", "1d", "7d", "all"] = told("Length of the window; all: the life of the scope.", "1h")
    start: str = told("Begin, in event time.", "2026-11-02T09:00:00.000Z")
    end: str | None = told("End; null for all.", "2026-11-02T10:00:00.000Z")
    rev: int = told("Revision of this window.", 3)
    final: bool = told("The watermark is 6 h past the end.", False)
    watermark: str | None = told("How far the input is complete; null: not known yet.", _AT)
    counts: dict[str, int] = told("By metric.", {"sent": 1200, "delivered": 1180, "clicked.unique.human": 48})
    rates: dict[str, Rate] = told("By rate.", {"click": {"n": 48, "of": 1180, "base": "delivered"}})
    unavailable: list[str] = told("Metrics that none of the scope's providers reports.", ["complained"], default=[])


# email.alerts


class AlertScope(_Record):
    """What the alert is about."""

    type: str = told("Kind of scope.", "campaign")
    id: str = told("Which one.", "nurture-3")
    domain: str | None = told("Sending domain, if known.", "m.example.com", default=None)
    list: str | None = told("List, if known.", "newsletter", default=None)
    account: str | None = told("Account at the provider, if known.", "default", default=None)


class Evidence(_Record):
    """A spike in figures; each can be derived again from the others."""

    window: str = told("Window that was tested.", "4h")
    events: int = told("Events in it.", 36)
    expected: float = told("baseline_rate x exposure.", 6.6)
    ratio: float = told("events / expected.", 5.5)
    ratio_ci90: tuple[float, float] = told("90 % interval of the ratio.", [4.1, 7.2])
    excess: float = told("events - expected.", 29.4)
    llr: float = told("Statistic of the test.", 12.5)
    threshold: float = told("What it is compared with.", 10.0)
    ratio_tested: int = told("Ratio that the test is made for.", 4)
    delivered: int = told("Deliveries in the window.", 41_000)
    exposure: float = told("Deliveries from which events are due by now.", 12_900.0)
    v: float = told("Variance allowed beside chance.", 0.12)
    baseline_rate: float = told("Events per delivery of this scope as known before.", 0.00051)
    baseline_source: str = told("Where the baseline comes from.", "key+prior")
    baseline_events: float = told("Events that it rests on.", 84.0)
    false_alarms_per_1000_key_days: float | None = told("At this threshold; null until own data says it.", None)


class PolicyEvidence(_Record):
    """A limit in figures."""

    limit: float = told("The limit.", 0.001)
    cohort: str = told("Day of the sends.", "2026-05-04")
    rate: float = told("Observed rate.", 0.00088)
    e_value: float = told("Evidence against the limit being kept.", 0.0005)
    observed: str = told("How the events become known.", "fbl")


class DataState(_Record):
    """How complete the counts were."""

    complete: bool = told("Nothing can change the figures any more.", False)
    watermark: str | None = told("How far the input was complete.", _AT)
    late_allowed: str = told("How late counts may come.", "6h")
    sources: list[str] = told("Providers that reported.", ["sendgrid"])


class Review(_Record):
    """What is known for a review of the campaign; null where nothing is."""

    subject: str | None = told("Subject line.", "Spring news", default=None)
    deliveries_per_contact_7d: float | None = told("Frequency.", 2.1, default=None)
    bounce_rate: float | None = told("Quality of the list.", 0.011, default=None)
    unsubscribe_rate: float | None = told("Withdrawals per delivery.", 0.004, default=None)


class Context(_Record):
    """What surrounds the alert."""

    hint: list[str] = told("What the figures suggest.", ["one_segment"])
    first_send: str | None = told("First delivery of the scope.", _AT)
    review: Review = told("What is known of the campaign.", {"subject": "Spring news"})


class Links(_Record):
    """Where to look."""

    view: str | None = told("Dashboard.", "https://stagepost.example.com/alerts", default=None)
    runbook: str | None = told("What to do.", "https://ops.example.com/runbooks/complaints", default=None)


class Alert(_Record):
    """One record of email.alerts, keyed by fingerprint: an incident began, changed or ended."""

    model_config = ConfigDict(title="stagepost alert")

    schema_: str = told(
        "Name and version of this form.", "stagepost.alert/1", alias="schema", default="stagepost.alert/1"
    )
    fingerprint: str = told("What makes two alerts the same alert.", "8f3a5c0d1e2b4a69")
    incident_id: str = told("One incident; with rev the idempotency key.", "8f3a5c0d1e2b4a69-2026-05-04T09:35Z")
    rev: int = told("Revision of the incident.", 2)
    status: str = told("firing or resolved, as of this record.", "firing")
    reason: AlertReason = told("Why this record was written.", "escalated")
    severity: Severity = told("How urgent.", "warning")
    metric: str = told("complaint, unsubscribe, bounce or block.", "complaint")
    rule: str = told("spike or policy.", "spike")
    scope: AlertScope = told("What it is about.", {"type": "campaign", "id": "nurture-3"})
    summary: str = told("One sentence with the figures.", "Complaints 5.5x expected on nurture-3: 36 vs 6.6 in 4 h")
    started_at: str = told("Begin of the excess.", _AT)
    fired_at: str = told("When it fired.", _AT)
    evaluated_to: str = told("End of the counts looked at.", _AT)
    ends_at: str | None = told("When it was resolved; null while it is not.", None)
    evidence: Evidence | None = told("Figures of a spike.", None)
    policy: PolicyEvidence | None = told("Figures of a limit.", None)
    data: DataState = told("How far the counts can be relied on.", {"complete": False, "late_allowed": "6h"})
    context: Context = told("What surrounds it.", {"hint": ["one_segment"]})
    links: Links = told(
        "Addresses for whoever is called.", {"view": "https://stagepost.example.com/alerts"}, default=Links()
    )
    labels: dict[str, str] = told("Labels of the journey.", {"team": "crm"}, default={})
