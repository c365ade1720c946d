"""What people are told: which revision of an incident goes to whom and why not, and the texts of it (alerts.md 5, 6).

May not contain: delivery, a retry, a clock, a key of Redis. Everything is a function of the records of ``email.alerts``
and of what a receiver was told before, so that reading the topic again changes nothing.

The law, for each receiver:

- The revisions of an incident that people are told of (firing, resolved) are announced in order, each once, and none
  that is known is left out, however many wait.
- While another incident holds an incident back, so are its firing revisions. If it ends so, and nothing was told of it,
  nothing will be. Once something was told, the next resolve always is.
- The log of what was sent is silent (``told`` is None) about what was not told, and about what a lost log or one of a
  new receiver cannot know. News is what became known within ``NEWS`` of its publication, and was published since the
  log began. Of an incident that goes on what is news is announced, or else its newest revision alone; of one that is
  over all that is known, if its newest revision is news, or else nothing. So a new receiver is not flooded with what
  is long over, and after a loss each incident that goes on is announced once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stagepost.alerts.lifecycle import Phase, Severity
from stagepost.alerts.record import SCHEMA
from stagepost.events import HOUR, Reason, Rejected, parse_rfc3339

RECORD_LIMIT = 256 * 1024
"""Bytes of one alert record; one is about 2 KiB."""

INCIDENTS_LIMIT = 20_000
"""Incidents in memory; beyond it the resolved ones that changed longest ago are forgotten."""

REVISIONS_LIMIT = 64
"""Revisions of an incident in memory; beyond it the oldest are forgotten, and who was not told of them never will be.
An incident goes on for a week and says so every four hours: 42, and some that are worse than the one before."""

NEWS = HOUR
"""Micros from a record's broker time to when this worker read it. Restarts and releases take less, and what is known
for longer is told however long a receiver was away: only what came and went before this worker began can be too old."""

TOP_CHILDREN = 5
"""Children named in the notification of their parent; the rest is a number."""

CULPRIT_SHARE = 0.6
"""Of the parent's excess: a child with more than that is what the parent shows (alerts.md 5)."""

_ID = re.compile(r"[\x21-\x7e]{1,200}")
"""Ids go into HTTP headers, keys and PagerDuty's dedup_key (255 characters): printable, without blanks."""

_TOLD = (Phase.FIRING, Phase.RESOLVED)
"""What people are told of; the other states are for the dashboard."""

_SUMMARY_LIMIT = 1024
"""Characters of PagerDuty's summary; also a limit for every other text."""


class Why(StrEnum):
    """Why a receiver is not told: in logs and in ``NotNotified``."""

    UNKNOWN = "unknown"
    """No revision of the incident is known that people are told of."""
    ALREADY_SENT = "already-sent"
    """The receiver has the newest revision, or has refused it."""
    NEVER_ANNOUNCED = "never-announced"
    """It is over and the receiver never heard of it: that was long ago, or another incident held it back."""
    OVERTAKEN = "overtaken"
    """A later incident has the same fingerprint, so this one is over, although nobody said so."""
    ELSEWHERE = "elsewhere"
    """Another worker has the incident's partition."""
    PARENT = "inhibited-by-parent"
    """A firing scope that contains this one says it all."""
    CULPRIT = "inhibited-by-culprit"
    """One child makes most of what is seen here."""
    POLICY = "inhibited-by-policy"
    """A critical policy alert of the same scope says more."""


class _Scope(Struct, frozen=True):
    type: str
    id: str


class _Evidence(Struct, frozen=True):
    excess: float | None = None


class _Wire(Struct, frozen=True, kw_only=True):
    """What has to be right about a record; the rest is carried along as it is."""

    schema: str
    fingerprint: str
    incident_id: str
    rev: Annotated[int, Meta(ge=0)]
    status: Phase
    severity: Severity
    metric: str
    rule: str
    scope: _Scope
    summary: str
    reason: str | None = None
    fired_at: str | None = None
    ends_at: str | None = None
    evidence: _Evidence | None = None
    links: dict[str, Any] | None = None


class Alert(Struct, frozen=True, kw_only=True):
    """One record of ``email.alerts``: what decisions need, and in ``fields`` all of it, unknown fields included."""

    fingerprint: str
    incident_id: str
    rev: int
    status: Phase
    severity: Severity
    metric: str
    rule: str
    scope: Mapping[str, str]
    """``type`` and ``id``, and what it lies in: the type of a containing scope (``list``, ``account``) to its id."""
    fired_at: int
    """Micros; 0 when the record does not say."""
    ended_at: int
    """Micros; 0 when the record does not say."""
    excess: float
    """Events above the expected number; 0 when the record does not say."""
    fields: Mapping[str, Any]

    @property
    def live(self) -> bool:
        return self.status in (Phase.FIRING, Phase.RECOVERING)

    @property
    def key(self) -> str:
        """The idempotency key of this revision."""
        return f"{self.incident_id}:{self.rev}"


INHIBITED = frozenset({Why.PARENT, Why.CULPRIT, Why.POLICY})
"""Reasons that pass when the other incident ends."""


class Told(Struct, frozen=True):
    """The last revision of an incident that a receiver was told."""

    rev: int
    status: Phase


class Child(Struct, frozen=True):
    """A child that its parent's notification names."""

    incident_id: str
    scope: Mapping[str, str]
    summary: str


class Notification(Struct, frozen=True):
    """One revision, ready for any receiver."""

    alert: Alert
    top_children: tuple[Child, ...] = ()
    """Of what this alert holds back, the largest by excess."""
    inhibited: int = 0
    """How many alerts this one holds back."""
    parent_incident: str | None = None
    """The firing incident of the smallest scope around this one."""


class NotNotified(Struct, frozen=True):
    """Nobody is told, and why. ``by``: the incident that inhibits."""

    reason: Why
    by: str | None = None


class _Revision(Struct, frozen=True):
    """A revision that people are told of. ``stamped``: the broker time of its first record, micros."""

    alert: Alert
    stamped: int
    news: bool
    """Whether it was read within ``NEWS`` of that."""


class _Incident(Struct, frozen=True):
    newest: Alert
    revisions: tuple[_Revision, ...] = ()
    """By number, the newest ``REVISIONS_LIMIT``."""

    @property
    def fired(self) -> Alert:
        """What it was like while it went on, as far as is known; there is a revision."""
        firing = [revision.alert for revision in self.revisions if revision.alert.status is Phase.FIRING]
        return (firing or [self.revisions[-1].alert])[-1]

    @property
    def ended_at(self) -> int:
        """Micros; for an incident that is over. The broker's time where the record does not say."""
        last = self.revisions[-1]
        return last.alert.ended_at or last.stamped


class _Scene(Struct, frozen=True):
    """Incidents that went on at the same time, and which of them were held back."""

    live: Mapping[str, Alert]
    inhibited: Mapping[str, NotNotified]


def read_alert(value: bytes | None) -> Alert | Rejected:
    """The alert in the value of a record, or why it cannot be read. Never raises."""
    if not value:
        return Rejected(Reason.UNDECODABLE, "empty value")
    if len(value) > RECORD_LIMIT:
        return Rejected(Reason.OVERSIZE, f"{len(value)} bytes, more than {RECORD_LIMIT}")
    try:
        fields = msgspec.json.decode(value)
        wire = msgspec.convert(fields, _Wire)
    except msgspec.ValidationError as error:
        return Rejected(Reason.SCHEMA, _place_of(error))
    except RecursionError:
        return Rejected(Reason.OVERSIZE, "nested too deep")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejected(Reason.UNDECODABLE, str(error))
    return _checked(wire, fields)


def _checked(wire: _Wire, fields: dict[str, Any]) -> Alert | Rejected:
    if wire.schema != SCHEMA:
        return Rejected(Reason.SCHEMA, f"schema is not {SCHEMA}")
    for name in ("fingerprint", "incident_id"):
        if not _ID.fullmatch(getattr(wire, name)):
            return Rejected(Reason.SCHEMA, f"{name} must have 1 to 200 printable ASCII characters, and no blank")
    times = {}
    for name in ("fired_at", "ends_at"):
        try:
            times[name] = 0 if (text := getattr(wire, name)) is None else parse_rfc3339(text)
        except ValueError:
            return Rejected(Reason.SCHEMA, f"{name} is not an RFC 3339 time with a zone")
    return Alert(
        fingerprint=wire.fingerprint,
        incident_id=wire.incident_id,
        rev=wire.rev,
        status=wire.status,
        severity=wire.severity,
        metric=wire.metric,
        rule=wire.rule,
        scope={name: value for name, value in fields["scope"].items() if isinstance(value, str)},
        fired_at=times["fired_at"],
        ended_at=times["ends_at"],
        excess=(wire.evidence or _Evidence()).excess or 0.0,
        fields=fields,
    )


def _place_of(error: msgspec.ValidationError) -> str:
    """Type and place; what an enum refuses would be a value of the payload."""
    text = str(error)
    return re.sub(r"Invalid enum value .* - at", "Unknown word - at", text)


class Incidents:
    """The revisions of every incident, from the records of all partitions, each read any number of times."""

    def __init__(self, limit: int = INCIDENTS_LIMIT) -> None:
        self._limit = limit
        self._incidents: dict[str, _Incident] = {}
        self._latest: dict[str, str] = {}
        self._now = _Scene({}, {})
        self._then: dict[int, _Scene] = {}
        self._changed = False

    def take(self, alert: Alert, stamped: int, now: int) -> bool:
        """Whether something was learned. ``stamped``: broker time of the record, ``now``: when it was read; micros."""
        known = self._incidents.get(alert.incident_id)
        is_newest = known is None or alert.rev > known.newest.rev
        before = () if known is None else known.revisions
        after = before
        if alert.status in _TOLD:
            after = _with_revision(before, _Revision(alert, stamped, stamped >= now - NEWS))
        if not is_newest and after is before:
            return False
        self._incidents.pop(alert.incident_id, None)
        self._incidents[alert.incident_id] = _Incident(alert if known is None or is_newest else known.newest, after)
        if is_newest:
            self._note_latest(alert)
        self._changed = True
        if len(self._incidents) > self._limit:
            self._forget()
        return True

    def ids(self) -> Iterable[str]:
        """Every incident that is known."""
        return self._incidents.keys()

    def live(self) -> Mapping[str, Alert]:
        """The incidents that are going on, each with its newest revision."""
        self._settle()
        return self._now.live

    def decide(
        self, incident_id: str, told: Told | None, log_began: int = 0, given_up: int | None = None
    ) -> Notification | NotNotified:
        """What is to be said next about an incident to a receiver that was ``told`` this much of it.

        ``log_began``: the broker time, micros, from which on the log of what was sent is whole; 0 when it always was.
        ``given_up``: the last revision that the receiver has refused for good.
        """
        incident = self._incidents.get(incident_id)
        if incident is None or not incident.revisions:
            return NotNotified(Why.UNKNOWN)
        after = max(-1 if told is None else told.rev, -1 if given_up is None else given_up)
        waiting = [revision for revision in incident.revisions if revision.alert.rev > after]
        if not waiting:
            return NotNotified(Why.ALREADY_SENT)
        if told is None:
            waiting = _to_begin_with(waiting, incident.newest.live, log_began)
            if not waiting:
                return NotNotified(Why.NEVER_ANNOUNCED)
        alert = waiting[0].alert
        if alert.status is Phase.RESOLVED:
            return Notification(alert)
        scene = self._scene(incident)
        held = self._held_back(incident, scene)
        if held is None:
            return _notification(alert, scene)
        ends = [revision.alert for revision in waiting if revision.alert.status is Phase.RESOLVED]
        return held if told is None or not ends else Notification(ends[0])

    def _held_back(self, incident: _Incident, scene: _Scene) -> NotNotified | None:
        """Why the firing revisions of an incident are not told."""
        alert = incident.newest
        latest = self._latest[alert.fingerprint]
        if alert.live and latest != alert.incident_id:
            return NotNotified(Why.OVERTAKEN, latest)
        held = scene.inhibited.get(alert.incident_id)
        if held is None or alert.live:
            return held
        # Not the reason of the other: that it passes is nothing to wait for.
        return NotNotified(Why.NEVER_ANNOUNCED, held.by)

    def _scene(self, incident: _Incident) -> _Scene:
        """What goes on beside an incident now, or did when it ended."""
        self._settle()
        if incident.newest.live:
            return self._now
        at = incident.ended_at
        if at not in self._then:
            live = {
                incident_id: other.fired
                for incident_id, other in self._incidents.items()
                if other.revisions and self._went_on(incident_id, other, at)
            }
            self._then[at] = _Scene(live, inhibitions(live.values()))
        return self._then[at]

    def _went_on(self, incident_id: str, incident: _Incident, at: int) -> bool:
        if incident.newest.live:
            return self._latest[incident.newest.fingerprint] == incident_id and incident.fired.fired_at <= at
        return incident.ended_at == at or incident.fired.fired_at <= at < incident.ended_at

    def _settle(self) -> None:
        """Bring what follows from all incidents up to date: once for many records."""
        if not self._changed:
            return
        live = {
            incident_id: incident.newest
            for incident_id, incident in self._incidents.items()
            if incident.newest.live and self._latest[incident.newest.fingerprint] == incident_id
        }
        self._now = _Scene(live, inhibitions(live.values()))
        self._then = {}
        self._changed = False

    def _note_latest(self, alert: Alert) -> None:
        before = self._incidents.get(self._latest.get(alert.fingerprint, ""))
        if before is None or (before.newest.fired_at, before.newest.incident_id) <= (alert.fired_at, alert.incident_id):
            self._latest[alert.fingerprint] = alert.incident_id

    def _forget(self) -> None:
        over = [incident_id for incident_id, known in self._incidents.items() if not known.newest.live]
        for incident_id in over[: max(1, self._limit // 10)]:
            fingerprint = self._incidents.pop(incident_id).newest.fingerprint
            if self._latest.get(fingerprint) == incident_id:
                del self._latest[fingerprint]


def _with_revision(revisions: tuple[_Revision, ...], new: _Revision) -> tuple[_Revision, ...]:
    """With ``new`` in its place; the same object when it is known, or older than all that there is room for.

    The group and the reader of the whole topic are at different places, and a record is published again after every
    assignment: of two records of a revision the first one says how old it is.
    """
    same = next((known for known in revisions if known.alert.rev == new.alert.rev), None)
    if same is not None and same.stamped <= new.stamped:
        return revisions
    others = [known for known in revisions if known is not same]
    if len(others) == REVISIONS_LIMIT and new.alert.rev < others[0].alert.rev:
        return revisions
    return tuple(sorted([*others, new], key=lambda known: known.alert.rev))[-REVISIONS_LIMIT:]


def _to_begin_with(waiting: list[_Revision], live: bool, log_began: int) -> list[_Revision]:
    """Of the revisions of an incident, those for a receiver of which no log says that it heard of it."""
    news = [revision for revision in waiting if revision.news and revision.stamped >= log_began]
    found = news or waiting[-1:] if live else waiting if waiting[-1] in news else []
    firing = [place for place, revision in enumerate(found) if revision.alert.status is Phase.FIRING]
    # An end before them is of a beginning that is not known any more.
    return found[firing[0] :] if firing else found


def _notification(alert: Alert, scene: _Scene) -> Notification:
    held = [scene.live[held] for held, why in scene.inhibited.items() if why.by == alert.incident_id]
    held.sort(key=lambda other: (-other.excess, other.incident_id))
    children = [
        Child(child.incident_id, child.scope, str(child.fields["summary"])[:_SUMMARY_LIMIT])
        for child in held
        if contains(alert, child)
    ]
    parents = [parent for parent in scene.live.values() if contains(parent, alert)]
    smallest = min(parents, key=_by_excess, default=None)
    return Notification(
        alert, tuple(children[:TOP_CHILDREN]), len(held), None if smallest is None else smallest.incident_id
    )


def contains(parent: Alert, child: Alert) -> bool:
    """Whether both are the same test on the same metric, and the scope of ``parent`` contains that of ``child``.

    A record names what its scope lies in: ``{"type": "campaign", "id": "c-1", "list": "l-9", "domain": ...}``.
    """
    return _place(parent) in _places_around(child)


def inhibitions(live: Iterable[Alert]) -> dict[str, NotNotified]:
    """The live alerts that are held back by another live one, by incident (alerts.md 5).

    A critical policy alert inhibits the spike warnings of its scope; a child with most of its parent's excess inhibits
    the parent; a parent inhibits the other children, unless they fired before it. Of several the largest is named.

    A parent does not inhibit what lies in its culprit: the culprit may itself be explained by one of them, and then
    nobody would be told. So of every group of alerts that inhibit each other one is told.
    """
    alerts = list(live)
    at: dict[tuple[str, ...], list[Alert]] = {}
    for alert in alerts:
        at.setdefault(_place(alert), []).append(alert)
    found: dict[str, list[tuple[int, Alert, Why]]] = {}

    def note(alert: Alert, rank: int, by: Alert, reason: Why) -> None:
        found.setdefault(alert.incident_id, []).append((rank, by, reason))

    for alert in alerts:
        if alert.rule == "spike" and alert.severity is Severity.WARNING:
            for policy in at.get((alert.metric, "policy", alert.scope["type"], alert.scope["id"]), ()):
                if policy.severity is Severity.CRITICAL:
                    note(alert, 3, policy, Why.POLICY)
    parents = {alert.incident_id: [p for place in _places_around(alert) for p in at.get(place, ())] for alert in alerts}
    culprits: dict[str, set[tuple[str, ...]]] = {}
    for alert in alerts:
        for parent in parents[alert.incident_id]:
            if alert.excess > CULPRIT_SHARE * parent.excess:
                culprits.setdefault(parent.incident_id, set()).add(_place(alert))
                note(parent, 2, alert, Why.CULPRIT)
    for alert in alerts:
        around = {_place(alert), *_places_around(alert)}
        for parent in parents[alert.incident_id]:
            if alert.fired_at >= parent.fired_at and around.isdisjoint(culprits.get(parent.incident_id, ())):
                note(alert, 1, parent, Why.PARENT)
    return {
        incident_id: NotNotified(reason, by.incident_id)
        for incident_id, reasons in found.items()
        for _rank, by, reason in [max(reasons, key=lambda each: (each[0], *_by_excess(each[1])))]
    }


def _place(alert: Alert) -> tuple[str, ...]:
    return alert.metric, alert.rule, alert.scope["type"], alert.scope["id"]


def _places_around(alert: Alert) -> list[tuple[str, ...]]:
    """Where an alert of a containing scope would be."""
    return [
        (alert.metric, alert.rule, name, value)
        for name, value in alert.scope.items()
        if name not in ("type", "id", alert.scope["type"])
    ]


def _by_excess(alert: Alert) -> tuple[float, str]:
    return alert.excess, alert.incident_id


def headline(notification: Notification) -> str:
    """One line for a subject or a log."""
    alert = notification.alert
    severity = f" ({alert.severity})" if alert.status is Phase.FIRING else ""
    return f"{alert.status.upper()}{severity}: {alert.fields['summary']}"[:_SUMMARY_LIMIT]


def lines(notification: Notification) -> tuple[str, ...]:
    """The message in words, without its headline: numbers that can be derived again, and where to look."""
    alert = notification.alert
    fields, evidence = alert.fields, alert.fields.get("evidence") or {}
    found = [f"{alert.metric} on {alert.scope['type']} {alert.scope['id']}, by {alert.rule}"]
    if {"events", "expected", "window"} <= evidence.keys():
        found.append(
            f"{evidence['events']} events, {evidence['expected']} expected, in {evidence['window']}"
            + (f", of {evidence['delivered']} delivered" if "delivered" in evidence else "")
        )
    since, until = fields.get("started_at") or fields.get("fired_at"), fields.get("ends_at")
    if since:
        found.append(f"since {since}" + (f" until {until}" if until else ""))
    if notification.inhibited:
        found.append(f"holds back {notification.inhibited} smaller alerts:")
        found += [f"- {child.summary}" for child in notification.top_children]
    if notification.parent_incident:
        found.append(f"part of {notification.parent_incident}")
    found += [f"{name}: {link}" for name, link in _links(alert)]
    found.append(f"incident {alert.incident_id}, revision {alert.rev}, {fields.get('reason') or 'no reason given'}")
    return tuple(found)


def webhook_body(notification: Notification) -> bytes:
    """JSON of the record as it was published, with ``idempotency_key`` and what notifications add."""
    return msgspec.json.encode(
        {
            **notification.alert.fields,
            "idempotency_key": notification.alert.key,
            "top_children": notification.top_children,
            "inhibited": notification.inhibited,
            "parent_incident": notification.parent_incident,
        }
    )


def pagerduty_event(notification: Notification, routing_key: str) -> bytes:
    """JSON of an event of PagerDuty's Events API v2: ``dedup_key`` is the incident, so a resolve closes the right one.

    https://developer.pagerduty.com/docs/send-alert-event
    """
    alert = notification.alert
    evidence = alert.fields.get("evidence") or {}
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "trigger" if alert.status is Phase.FIRING else "resolve",
        "dedup_key": alert.incident_id,
        "client": "stagepost",
        "payload": {
            "summary": str(alert.fields["summary"])[:_SUMMARY_LIMIT],
            "source": alert.scope["id"],
            "severity": alert.severity,
            "timestamp": alert.fields.get("fired_at"),
            "class": alert.metric,
            "component": alert.scope["type"],
            "group": _domain(alert),
            "custom_details": {**evidence, "top_children": notification.top_children}
            if notification.top_children
            else evidence,
        },
        "links": [{"href": link, "text": name} for name, link in _links(alert) if link.startswith(("https:", "http:"))],
    }
    return msgspec.json.encode(event)


def _domain(alert: Alert) -> str | None:
    return alert.scope["id"] if alert.scope["type"] == "domain" else alert.scope.get("domain")


def _links(alert: Alert) -> list[tuple[str, str]]:
    links = alert.fields.get("links") or {}
    return [(name, link) for name, link in links.items() if isinstance(link, str) and link]
