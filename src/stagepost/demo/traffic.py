"""Three weeks of a company's e-mail, made up from a seed: what the providers' bridges and the company itself publish.

Pure: the same seed and start give the same bytes. Delays and base rates are those of alerts.md 1.2. Everywhere but in
the planted campaigns so few people complain or leave that no detector can take notice (it needs five); no click comes
sooner after its delivery than a person could make it.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from stagepost.demo import bodies
from stagepost.demo.bodies import Mail, sendgrid_event
from stagepost.demo.malformed import malformed
from stagepost.engine.plan import Headers, Topic
from stagepost.events import DAY, HOUR, MICROS, MINUTE, Reason, rfc3339

SPAN = 21 * DAY
"""Of the history: long enough for 14 quiet days and their timers."""

COMPLAINT_CAMPAIGN = "weekly-4"
UNSUBSCRIBE_CAMPAIGN = "nurture-5"
"""Late in the history: an incident is resolved some days after its spike, and should be seen firing in the end."""

_CONTACTS = 3_400
_IMPORTED = 3_150
"""Contacts that a list import brings on the first day; the others subscribe later, one by one."""
_IMPORT_SPAN = 20 * HOUR

_COMPLAINT_SHARE = 0.013
_UNSUBSCRIBE_SHARE = 0.05
"""Of the planted campaigns' deliveries, some 3,000. A threefold rate could not be told from chance at this volume."""

_MALFORMED_ROUNDS = 3
"""How often each kind of malformed record is planted."""

_LATE_EVENTS = 12
_LATE_AFTER = (36 * HOUR, 72 * HOUR)
"""How long planted late events are held back: the journeys' lateness is 24 h."""

_FLUSH = 30 * MICROS
_FLUSH_EVENTS = 60
"""SendGrid posts what it has every 30 s; the second is ours, where SendGrid counts bytes."""

_DUPLICATE_AFTER = 90 * MICROS
"""A bridge that did not answer in time gets the same post again."""

_JSON_BODY = ("content-type", b"application/json")

_LINKS = (
    "https://example.com/pricing/teams?utm_source={campaign}",
    "https://example.com/webinars/streams-in-an-hour?utm_source={campaign}",
    "https://example.com/blog/what-a-click-says",
    "https://example.com/blog/ten-subject-lines",
    "https://example.com/preferences/mail",
)
_LINK_WEIGHTS = (24, 26, 24, 22, 4)

_FIRST_NAMES = "ann ben carla deniz emil fatima goran hana ines jonas kaya lena milan nora omar paula".split()
_DOMAINS = ("gmail.example", "outlook.example", "yahoo.example", "acme.example", "initech.example", "umbrella.example")


@dataclass(frozen=True, slots=True)
class Post:
    """One record to publish once the clock shows ``at`` (micros). ``parts``: how many events it stands for."""

    at: int
    topic: Topic
    key: bytes
    value: bytes
    headers: Headers
    parts: int = 1
    dead_letter: Reason | None = None
    """Why nobody can read it; None for a good record."""
    repeats: bool = False
    """Whether an earlier post had the same body."""
    late: bool = False
    """Whether it was held back until it was late."""


@dataclass(frozen=True)
class Planted:
    """What was published on purpose, so that the end can be checked against it."""

    malformed: Counter[tuple[Topic, Reason]]
    """Records by topic and by the reason that their dead letter must carry."""
    duplicated: int
    """Events in posts that were delivered a second time."""
    late: int
    """Events that were held back until they were late."""


def planted(posts: Iterable[Post]) -> Planted:
    """What ``posts`` hold on purpose, beside the two campaigns."""
    malformed: Counter[tuple[Topic, Reason]] = Counter()
    duplicated = late = 0
    for post in posts:
        if post.dead_letter is not None:
            malformed[post.topic, post.dead_letter] += 1
        duplicated += post.parts if post.repeats else 0
        late += post.parts if post.late else 0
    return Planted(malformed, duplicated, late)


@dataclass(frozen=True)
class History:
    """``posts`` in the order of ``at``, which lies between ``start`` and ``end``."""

    start: int
    end: int
    posts: Sequence[Post]
    contacts: int
    campaigns: Mapping[str, int]
    """By name, when each begins (micros)."""


@dataclass(frozen=True, slots=True)
class _Campaign:
    name: str
    provider: str
    day: float
    share: float
    """Of all contacts that may be written to."""
    span: int = 10 * HOUR
    """From the first to the last message."""


_CAMPAIGNS = (
    _Campaign("nurture-1", "sendgrid", 1.4, 0.55),
    _Campaign("weekly-1", "postmark", 2.4, 0.5),
    _Campaign("nurture-2", "sendgrid", 4.3, 0.5),
    _Campaign("nurture-3", "sendgrid", 6.4, 0.45),
    _Campaign("weekly-2", "postmark", 8.3, 0.45),
    _Campaign("promo-autumn", "postmark", 10.4, 0.3),
    _Campaign("nurture-4", "sendgrid", 12.3, 0.45),
    _Campaign("weekly-3", "postmark", 14.4, 0.3),
    _Campaign(COMPLAINT_CAMPAIGN, "postmark", 17.3, 1.0),
    _Campaign(UNSUBSCRIBE_CAMPAIGN, "sendgrid", 19.2, 1.0),
)


@dataclass(slots=True)
class _Person:
    """A contact, how keen it is, and until when nobody may write to it."""

    contact: str
    address: str
    opens: float
    clicks: float
    since: int
    left_at: dict[str, int] = field(default_factory=dict)
    """Provider (or ``all``) to the time of the withdrawal, complaint or bounce that ended its mail."""
    bought: bool = False

    def may_get(self, provider: str, at: int) -> bool:
        left = min(self.left_at.get(provider, at + 1), self.left_at.get("all", at + 1))
        return self.since <= at < left


def history(seed: int, start: int) -> History:
    """The three weeks from ``start`` (micros) on."""
    return _Author(seed, start).history()


def onward(seed: int, start: int) -> Iterator[Post]:
    """What goes on after the history, without end: about four events a second of event time."""
    rng = Random(f"onward {seed}")
    recent: list[Mail] = []
    at = start
    for number in range(1 << 60):
        at += round(rng.expovariate(4) * MICROS)
        contact = f"c-{rng.randrange(10_000, 10_000 + _IMPORTED)}"
        match rng.choices(("delivered", "open", "click", "activity"), (40, 30, 10, 20))[0]:
            case "activity":
                type_ = rng.choice(("product.viewed", "webinar.registered", "contact.subscribed"))
                yield _company_event(contact, type_, at, f"now-{number}", {})
            case "delivered":
                mail = Mail("sendgrid", "weekly-now", contact, f"{contact}@gmail.example", f"now{number:08d}")
                recent.append(mail)
                yield _raw_post(at, "sendgrid", _encode([sendgrid_event(mail, "delivered", at)]), 1)
            case kind if len(recent) > 40:
                mail = rng.choice(recent[-400:-20])
                extra = {"url": rng.choice(_LINKS).format(campaign=mail.campaign)} if kind == "click" else {}
                yield _raw_post(at, "sendgrid", _encode([sendgrid_event(mail, kind, at, **extra)]), 1)


class _Author:
    """Writes one history. Everything random comes from one generator, in one order."""

    def __init__(self, seed: int, start: int) -> None:
        self._rng = Random(f"history {seed}")
        self._start = start
        self._end = start + SPAN
        self._sendgrid: list[tuple[int, dict[str, Any]]] = []
        self._postmark: list[tuple[int, dict[str, Any]]] = []
        self._company: list[Post] = []
        self._numbers = iter(range(1, 1 << 60))

    def history(self) -> History:
        people = [self._person(number) for number in range(_CONTACTS)]
        starts = {}
        for campaign in _CAMPAIGNS:
            starts[campaign.name] = self._start + round(campaign.day * DAY)
            self._send(campaign, starts[campaign.name], people)
        late = self._held_back()
        posts = [*self._sendgrid_posts(), *(_postmark_post(at, body) for at, body in self._postmark), *self._company]
        twice = self._batch_to_repeat(posts)
        posts += [*late, _again(twice), *self._malformed(people)]
        posts = sorted((post for post in posts if post.at < self._end), key=lambda post: post.at)
        return History(self._start, self._end, posts, len(people), starts)

    # People

    def _person(self, number: int) -> _Person:
        rng = self._rng
        contact = f"c-{10_000 + number}"
        first, domain = rng.choice(_FIRST_NAMES), rng.choice(_DOMAINS)
        opens, clicks = rng.choices(((0.7, 0.28), (0.4, 0.08), (0.08, 0.004)), (28, 47, 25))[0]
        if number < _IMPORTED:
            since = self._start + round(_IMPORT_SPAN * number / _IMPORTED)
        else:
            since = self._start + round(rng.uniform(1.0, 19.0) * DAY)
        self._tell(contact, "contact.subscribed", since, {"source": "import" if number < _IMPORTED else "form"})
        return _Person(contact, f"{first}.{number}@{domain}", opens, clicks, since)

    def _tell(self, contact: str, type_: str, at: int, data: dict[str, Any]) -> None:
        """An event that the company publishes itself."""
        self._company.append(_company_event(contact, type_, at, f"{type_}-{next(self._numbers)}", data))

    # Campaigns

    def _send(self, campaign: _Campaign, start: int, people: Sequence[_Person]) -> None:
        rng = self._rng
        delivered: list[tuple[int, _Person, Mail]] = []
        for person in people:
            at = start + round(rng.random() * campaign.span)
            if person.since > at or rng.random() >= campaign.share:
                continue
            mail = self._mail(campaign, person)
            if not person.may_get(campaign.provider, at):
                if campaign.provider == "sendgrid":
                    self._report(mail, "dropped", at, reason="Unsubscribed Address")
                continue
            arrived = self._deliver(mail, person, at)
            if arrived is not None:
                delivered.append((arrived, person, mail))
        leaving = self._leave(campaign, delivered)
        for number, (arrived, person, mail) in enumerate(delivered):
            if number not in leaving:
                self._react(mail, person, arrived)

    def _mail(self, campaign: _Campaign, person: _Person) -> Mail:
        if campaign.provider == "sendgrid":
            message = "".join(self._rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789", k=22))
        else:
            message = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        return Mail(campaign.provider, campaign.name, person.contact, person.address, message)

    def _deliver(self, mail: Mail, person: _Person, at: int) -> int | None:
        """When the message arrived; None when it bounced."""
        rng = self._rng
        if mail.provider == "sendgrid":
            self._report(mail, "processed", at)
        arrived = at + round(2 * MICROS + rng.lognormvariate(math.log(4), 1.0) * MICROS)
        if rng.random() < 0.004:
            person.left_at["all"] = arrived
            if mail.provider == "sendgrid":
                fields = {"type": "bounce", "bounce_classification": "Invalid Address", "status": "5.1.1"}
                self._report(mail, "bounce", arrived, reason="550 5.1.1 The account does not exist", **fields)
            else:
                self._notify(arrived, bodies.postmark_bounce(mail, arrived, next(self._numbers)))
            return None
        if mail.provider == "postmark":
            self._notify(arrived, bodies.postmark_delivery(mail, arrived))
            return arrived
        if rng.random() < 0.02:
            self._report(mail, "deferred", arrived, attempt="1", response="451 4.7.1 try again later")
            arrived += round(rng.uniform(10, 60) * MINUTE)
        self._report(mail, "delivered", arrived, response="250 2.0.0 OK")
        return arrived

    def _react(self, mail: Mail, person: _Person, arrived: int) -> None:
        """Opens and clicks of somebody who stays."""
        rng = self._rng
        if rng.random() < person.opens:
            opened = arrived + self._delay(354, 2.27)
            self._open(mail, opened, first=True)
            if rng.random() < 0.25:
                self._open(mail, opened + round(rng.uniform(1, 40) * HOUR), first=False)
        if rng.random() < person.clicks:
            clicked = arrived + self._delay(167, 2.44)
            for number in range(rng.choice((1, 1, 1, 2))):
                self._click(mail, person, clicked + number * round(rng.uniform(1, 9) * MINUTE))

    def _open(self, mail: Mail, at: int, first: bool) -> None:
        if mail.provider == "sendgrid":
            self._report(mail, "open", at, sg_machine_open=self._rng.random() < 0.15)
        else:
            self._notify(at, bodies.postmark_open(mail, at, first))

    def _click(self, mail: Mail, person: _Person, at: int) -> None:
        rng = self._rng
        link = rng.choices(range(len(_LINKS)), _LINK_WEIGHTS)[0]
        url = _LINKS[link].format(campaign=mail.campaign)
        if mail.provider == "sendgrid":
            self._report(mail, "click", at, url=url, url_offset={"index": link, "type": "html"})
        else:
            self._notify(at, bodies.postmark_click(mail, at, url))
        self._tell(person.contact, "product.viewed", at + round(rng.uniform(20, 90) * MICROS), {"page": link})
        if "webinars" not in url or rng.random() > 0.7:
            return
        registered = at + round(rng.uniform(3, 40) * MINUTE)
        self._tell(person.contact, "webinar.registered", registered, {"webinar": "streams-in-an-hour"})
        if rng.random() < 0.45 and not person.bought:
            person.bought = True
            ordered = registered + round(rng.uniform(0.5, 6) * DAY)
            total = rng.choice((0, 49, 99, 490))
            self._tell(person.contact, "order.completed", ordered, {"total": total, "currency": "EUR"})

    # Whoever leaves

    def _leave(self, campaign: _Campaign, delivered: Sequence[tuple[int, _Person, Mail]]) -> set[int]:
        """Complaints and withdrawals: as planted, or so few that no detector notices. Returns whom they took."""
        rng, count = self._rng, len(delivered)
        complaints = round(_COMPLAINT_SHARE * count) if campaign.name == COMPLAINT_CAMPAIGN else rng.choice((0, 0, 1))
        withdrawals = (
            round(_UNSUBSCRIBE_SHARE * count) if campaign.name == UNSUBSCRIBE_CAMPAIGN else min(3, round(0.002 * count))
        )
        leaving = rng.sample(range(count), complaints + withdrawals)
        for number in leaving[:complaints]:
            arrived, person, mail = delivered[number]
            self._complain(mail, person, arrived + self._delay(354, 2.27))
        for number in leaving[complaints:]:
            arrived, person, mail = delivered[number]
            self._unsubscribe(mail, person, arrived + self._delay(167, 2.44))
        return set(leaving)

    def _complain(self, mail: Mail, person: _Person, at: int) -> None:
        person.left_at["all"] = at
        if mail.provider == "sendgrid":
            self._report(mail, "spamreport", at)
        else:
            self._notify(at, bodies.postmark_complaint(mail, at, next(self._numbers)))

    def _unsubscribe(self, mail: Mail, person: _Person, at: int) -> None:
        """At SendGrid from all mail or from the group, at Postmark from the stream. Some come back."""
        rng = self._rng
        if mail.provider == "postmark":
            person.left_at["postmark"] = at
            self._notify(at, bodies.postmark_unsubscribe(mail, at))
        elif rng.random() < 0.3:
            person.left_at["sendgrid"] = at
            self._report(mail, "group_unsubscribe", at, asm_group_id=bodies.UNSUBSCRIBE_GROUP)
        else:
            person.left_at["all"] = at
            self._report(mail, "unsubscribe", at)
            if rng.random() < 0.7:
                back = at + round(rng.uniform(2.1, 4) * DAY)
                del person.left_at["all"]
                person.since = back
                self._tell(person.contact, "contact.subscribed", back, {"source": "form"})

    # From events to posts

    def _delay(self, median_min: float, sigma: float) -> int:
        """Lognormal, as measured over billions of mails; no person is faster than three minutes."""
        return round(max(3.0, self._rng.lognormvariate(math.log(median_min), sigma)) * MINUTE)

    def _report(self, mail: Mail, event: str, at: int, **fields: Any) -> None:
        self._sendgrid.append((at, sendgrid_event(mail, event, at, **fields)))

    def _notify(self, at: int, body: dict[str, Any]) -> None:
        self._postmark.append((at, body))

    def _sendgrid_posts(self) -> list[Post]:
        """Events in time order, cut into posts as SendGrid flushes them."""
        posts: list[Post] = []
        batch: list[tuple[int, dict[str, Any]]] = []
        for at, event in sorted(self._sendgrid, key=lambda item: item[0]):
            if batch and (at - batch[0][0] > _FLUSH or len(batch) >= _FLUSH_EVENTS):
                posts.append(_sendgrid_post(batch))
                batch = []
            batch.append((at, event))
        posts.append(_sendgrid_post(batch))
        return posts

    # What is planted beside the two campaigns

    def _held_back(self) -> list[Post]:
        """Take some opens and clicks out of the stream and deliver them when they are late."""
        rng = self._rng
        in_time = [
            number
            for number, (at, event) in enumerate(self._sendgrid)
            if event["event"] in ("open", "click") and at < self._end - 4 * DAY
        ]
        chosen = rng.sample(in_time, _LATE_EVENTS)
        posts = []
        for number in chosen:
            at, event = self._sendgrid[number]
            post = _received(_sendgrid_post([(at, event)]), at + round(rng.uniform(*_LATE_AFTER)))
            posts.append(replace(post, late=True))
        for number in sorted(chosen, reverse=True):
            del self._sendgrid[number]
        return posts

    def _batch_to_repeat(self, posts: Sequence[Post]) -> Post:
        """A post of the middle of the history with as many events as any."""
        first, last = self._start + 4 * DAY, self._start + 7 * DAY
        return max((post for post in posts if post.topic == Topic.RAW and first < post.at < last), key=_parts)

    def _malformed(self, people: Sequence[_Person]) -> list[Post]:
        posts = []
        for round_ in range(_MALFORMED_ROUNDS):
            person = people[self._rng.randrange(_IMPORTED)]
            mail = Mail("sendgrid", "nurture-1", person.contact, person.address, f"malformed{round_}")
            for number in range(len(malformed(mail, 0, 0))):
                at = self._start + round(self._rng.uniform(2, 20.5) * DAY)
                bad = malformed(mail, at // MICROS * MICROS, next(self._numbers))[number]
                if bad.provider is None:
                    post = Post(at, bad.topic, person.contact.encode(), bad.value, (_JSON_BODY,))
                else:
                    post = _raw_post(at, bad.provider, bad.value, bad.parts)
                posts.append(replace(post, dead_letter=bad.reason))
        return posts


def _company_event(contact: str, type_: str, at: int, id_: str, data: dict[str, Any]) -> Post:
    body = {"id": id_, "type": type_, "occurred_at": rfc3339(at), "contact": contact, "data": data}
    return Post(at, Topic.EVENTS, contact.encode(), _encode(body), (_JSON_BODY,))


def _sendgrid_post(batch: Sequence[tuple[int, dict[str, Any]]]) -> Post:
    """A post of events in time order, received a second after the last of them."""
    received = (batch[-1][0] // MICROS + 1) * MICROS
    return _raw_post(received, "sendgrid", _encode([event for _, event in batch]), len(batch))


def _postmark_post(at: int, body: dict[str, Any]) -> Post:
    return _raw_post(at + MICROS, "postmark", _encode(body), 1)


def _raw_post(at: int, provider: str, body: bytes, parts: int) -> Post:
    """A record of ``email.raw`` as a bridge publishes it: account and key are named after the provider."""
    account = provider.encode()
    headers = (
        ("provider", account),
        ("account", account),
        ("received_at", rfc3339(at).encode()),
        _JSON_BODY,
        ("http.user-agent", _AGENTS.get(provider, b"unknown")),
    )
    return Post(at, Topic.RAW, account, body, headers, parts)


_AGENTS = {"sendgrid": b"SendGrid Event API", "postmark": b"Postmark"}


def _received(post: Post, at: int) -> Post:
    """The same post, received at another time."""
    headers = tuple((n, rfc3339(at).encode() if n == "received_at" else v) for n, v in post.headers)
    return replace(post, at=at, headers=headers)


def _again(post: Post) -> Post:
    return replace(_received(post, post.at + _DUPLICATE_AFTER), repeats=True)


def _parts(post: Post) -> int:
    return post.parts


def _encode(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
