"""The vocabulary: frozen types that cross a stage, their deterministic ids and wire forms.

May not contain: behaviour that chooses, any client, a clock, an import from the rest of the package.

Times inside the package are integers, microseconds since 1970-01-01T00:00:00Z ("micros"). On the wire they are
RFC 3339 in UTC with ``Z`` and three or six fraction digits; durations on the wire are seconds.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from struct import unpack_from
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

MICROS = 1_000_000
MINUTE = 60 * MICROS
HOUR = 60 * MINUTE
DAY = 24 * HOUR

BIN = 5 * MINUTE
"""Width of the event-time bins in which tallies are counted (design.md 5)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIRST_TIME, LAST_TIME = -62_135_596_800 * MICROS, 253_402_300_800 * MICROS - 1
"""The first and the last microsecond, in UTC, that RFC 3339 can write."""

EMAIL_TYPES = frozenset(
    "email." + name
    for name in (
        "sent deferred delivered bounced dropped failed opened clicked complained unsubscribed resubscribed "
        "subscribed replied suppressed unknown"
    ).split()
)
"""What providers report. Anything else with a dot, outside CONTACT_TYPES, is a custom activity."""

CONTACT_TYPES = frozenset("contact." + name for name in "subscribed consent_given consent_withdrawn erased".split())
"""What the company says about a contact itself."""


PROVIDERS = frozenset(
    "sendgrid mailgun postmark ses sparkpost mandrill brevo mailjet resend mailersend mailtrap".split()
)
"""Names of the e-mail providers, as in the header ``provider`` of ``email.raw``."""


class Reason(StrEnum):
    """Why a record was not understood: the one closed list for header, metric label and command line."""

    UNDECODABLE = "undecodable"
    UNKNOWN_PROVIDER = "unknown-provider"
    SIGNATURE = "signature"
    SCHEMA = "schema"
    IMPLAUSIBLE_TIME = "implausible-time"
    NO_CONTACT = "no-contact"
    OVERSIZE = "oversize"
    RULE_ERROR = "rule-error"


class Rejected(Struct, frozen=True):
    """A part that could not be understood. ``detail`` says what and where and holds no value of the payload."""

    reason: Reason
    detail: str
    part: int | None = None
    """Index of the part in its body, from 0; None means the whole body."""


Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Smtp(Struct, frozen=True, gc=False):
    """What the receiving server answered."""

    code: int | None = None
    enhanced: str | None = None
    text: str | None = None


class RawPlace(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where on ``email.raw`` an event came from; ``convert`` knows only the part."""

    part: int
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """One canonical event on ``email.events`` (design.md 3.1, providers.md 5.1 and 5.3).

    Fields up to ``data`` are always on the wire; the rest only when known (``UNSET`` otherwise). Times are RFC 3339
    text as on the wire; the reader of a record turns ``occurred_at`` into micros once, with ``parse_rfc3339``.
    ``gc=False``: what was read as JSON cannot refer back; reading a batch takes a quarter less time.
    """

    id: str
    type: str
    occurred_at: str
    received_at: str | None = None
    contact: str
    recipient: str | None = None
    provider: str | None = None
    account: str | None = None
    campaign: str | None = None
    message: str | None = None
    url: str | None = None
    first: bool | None = None
    machine: bool | None = None
    machine_reasons: tuple[str, ...] = ()
    test: bool = False
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    data: dict[str, Any] = {}

    bounce_class: str | UnsetType = field(name="class", default=UNSET)
    reason: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    scope_id: str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    feedback: str | UnsetType = UNSET
    asynchronous: bool | UnsetType = field(name="async", default=UNSET)
    machine_kind: str | UnsetType = UNSET
    variant: str | UnsetType = UNSET
    amp: bool | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    action: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    purpose: str | UnsetType = UNSET
    occurred_precision: str | UnsetType = UNSET
    provider_event: str | UnsetType = UNSET
    provider_event_id: str | UnsetType = UNSET
    rfc_message_id: str | UnsetType = UNSET
    batch: str | UnsetType = UNSET
    template: str | UnsetType = UNSET
    stream: str | UnsetType = UNSET
    list_id: str | UnsetType = field(name="list", default=UNSET)
    sending_domain: str | UnsetType = UNSET
    campaign_name: str | UnsetType = UNSET
    recipient_raw: str | UnsetType = UNSET
    recipient_certainty: str | UnsetType = UNSET
    link_id: str | UnsetType = UNSET
    ip: str | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET
    smtp: Smtp | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    verified: bool | UnsetType | None = UNSET
    raw: RawPlace | UnsetType = UNSET
    cut: tuple[str, ...] | UnsetType = UNSET
    v: int | UnsetType = UNSET


class Cause(Struct, frozen=True, gc=False):
    """The event that moved a contact. ``url`` has no query string: it leaves the worker (experience.md 6)."""

    id: str
    type: str
    campaign: str | None = None
    message: str | None = None
    url: str | None = None
    machine: bool | None = None


class TimerRef(Struct, frozen=True, gc=False):
    """The timer that moved a contact: ``stall quiet no_click missed stuck after`` and when it was due."""

    name: str
    due: str


class Credit(Struct, frozen=True, gc=False):
    """The send that earned a move; ``how`` is ``direct`` or ``last_click`` (journeys.md 3)."""

    campaign: str | None
    message: str | None
    at: str
    how: str


class SendRef(Struct, frozen=True, gc=False):
    """The last send delivered to the contact."""

    campaign: str | None
    message: str | None
    at: str


class Transition(Struct, frozen=True, kw_only=True, gc=False):
    """One record of ``journey.transitions`` (design.md 3.2), in wire form: times are text, durations seconds."""

    id: str
    journey: str
    version: str
    contact: str
    run: str
    from_: str | None = field(name="from")
    to: str
    kind: str
    at: str
    rule: str
    cause: Cause | None
    timer: TimerRef | None
    credit: Credit | None
    last_send: SendRef | None
    goal: bool
    move: int
    dwell_s: int | float | None
    best: str | None
    late: bool
    replay: bool = False


class Membership(Struct, frozen=True, kw_only=True):
    """One record of ``journey.contacts`` (design.md 3.3): where a contact is in one journey."""

    journey: str
    contact: str
    run: str
    stage: str
    since: str
    best: str | None
    status: str
    goal: bool
    version: str
    flags: tuple[str, ...] = ()


class Tally(Struct, frozen=True, gc=False, array_like=True):
    """A counter delta: ``n`` more of ``metric`` for a scope in the 5-minute event-time bin ``bin`` (micros // BIN)."""

    scope_type: str
    scope_id: str
    bin: int
    metric: str
    n: int


class TallyBatch(Struct, frozen=True, kw_only=True):
    """One record of ``stagepost.tallies``: what one transaction of partition ``p`` counted for one tally partition."""

    p: int
    seq: int
    clock: int
    """Partition clock of ``p`` after the transaction, micros."""
    deltas: tuple[Tally, ...] = ()


class Rate(Struct, frozen=True):
    """A rate is never without its denominator: ``n`` of ``of``, which counts ``base``."""

    n: int
    of: int
    base: str


class MetricScope(Struct, frozen=True):
    type: str
    id: str


class MetricWindow(Struct, frozen=True, kw_only=True):
    """One record of ``email.metrics`` (design.md 3.4), in wire form."""

    scope: MetricScope
    window: str
    start: str
    end: str | None
    rev: int
    final: bool
    watermark: str | None
    """None until every input partition has reported."""
    counts: dict[str, int]
    rates: dict[str, Rate]
    unavailable: tuple[str, ...] = ()


def micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exact: a double would round them from the year 2255 on."""
    since = moment - _EPOCH
    return since.days * DAY + since.seconds * MICROS + since.microseconds


def from_micros(at: int) -> datetime:
    """The aware UTC datetime of ``at``."""
    return _EPOCH + timedelta(microseconds=at)


_SECONDS = tuple(f"{second // 60:02d}:{second % 60:02d}." for second in range(3600))
_THOUSANDTHS = tuple(f"{thousandth:03d}Z" for thousandth in range(1000))
"""The parts of a time below the hour, ready made: formatting them takes 0.6 us more for each time in a record."""

_SECOND_OF = {text: second * MICROS for second, text in enumerate(_SECONDS)}
_THOUSANDTH_OF = {text: thousandth * 1000 for thousandth, text in enumerate(_THOUSANDTHS)}
"""The same for reading: text to micros."""


def rfc3339(at: int) -> str:
    """Wire text of a time: three fraction digits, six when the microseconds ask for them.

    >>> rfc3339(1_793_610_847_120_000)
    '2026-11-02T09:14:07.120Z'
    """
    hour, rest = divmod(at, HOUR)
    second, fraction = divmod(rest, MICROS)
    thousandth, finer = divmod(fraction, 1000)
    return _hour(hour) + _SECONDS[second] + (f"{fraction:06d}Z" if finer else _THOUSANDTHS[thousandth])


@lru_cache(maxsize=4096)
def _hour(hour: int) -> str:
    """Wire text up to an hour since the epoch. Every record has several times, and a stream is at few hours."""
    return (_EPOCH + timedelta(hours=hour)).isoformat()[:14]


def parse_rfc3339(text: str) -> int:
    """Micros of an RFC 3339 time with offset or ``Z``; raises ``ValueError`` on anything else.

    A time that no year of four digits holds in UTC is none: it could not be written again.
    """
    # The form that is written here takes a sixth of the time: three look-ups, its hour was read for another event.
    second, thousandth = _SECOND_OF.get(text[14:20]), _THOUSANDTH_OF.get(text[20:])
    if second is not None and thousandth is not None:
        return _hour_micros(text[:14]) + second + thousandth
    return _micros_of(text)


@lru_cache(maxsize=1024)
def _hour_micros(text: str) -> int:
    return _micros_of(f"{text}00:00Z")


def _micros_of(text: str) -> int:
    try:
        at = micros(msgspec.convert(text, Instant))
    except msgspec.ValidationError as error:
        raise ValueError(f"not an RFC 3339 time with a zone: {text!r}") from error
    if not FIRST_TIME <= at <= LAST_TIME:
        raise ValueError(f"not a time of the years 1 to 9999 in UTC: {text!r}")
    return at


def seconds(span: int) -> int | float:
    """Wire form of a duration in micros: whole seconds as an integer."""
    whole, rest = divmod(span, MICROS)
    return whole if rest == 0 else span / MICROS


def stable_id(*parts: str) -> str:
    """First 32 hex digits of SHA-256 over the compact JSON array of ``parts``: the form of every id made here."""
    return hashlib.sha256(encode_json(parts)).digest()[:16].hex()


def transition_id(journey: str, contact: str, run: str, move: int) -> str:
    """The id of a move: the same cause gives the same id, after a crash too (design.md 3.2)."""
    return stable_id("transition", journey, contact, run, str(move))


def murmur2_partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's JVM default partitioner (and librdkafka's ``murmur2``) gives ``key``."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 (seed 0x9747b28c), as an unsigned number."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    words = len(data) // 4
    h = 0x9747B28C ^ len(data)
    for word in unpack_from(f"<{words}I", data):
        k = word * multiplier & mask
        k = (k ^ (k >> 24)) * multiplier & mask
        h = (h * multiplier & mask) ^ k
    rest = data[words * 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * multiplier & mask
    h = (h ^ (h >> 13)) * multiplier & mask
    return h ^ (h >> 15)


encode_json = msgspec.json.Encoder().encode
"""Compact JSON of any type of this module: the value of every public record."""

decode_event_json = msgspec.json.Decoder(Event).decode
decode_tally_batch = msgspec.json.Decoder(TallyBatch).decode
