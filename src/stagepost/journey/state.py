"""What is remembered of one contact: plain bounded data, copied before it is changed, packed behind a codec byte.

Law: a step never changes a given state. Structs here are mutable only so that a fresh copy (``copy.copy``, about
0.1 us) can be filled in; whoever holds a state may share it freely. ``gc=False`` is safe: nothing here can refer back.
Everything is bounded by the definition or by a constant below, never by the number of events.
May not contain: rules, evaluation, a clock.

Times are micros since the epoch; 0 stands for "never" (events before the year 2000 are refused at the door).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from zlib import crc32

import msgspec
from msgspec import Struct

from stagepost.events import DAY, HOUR

CODEC = 2
"""First byte of a packed state. A change of any Struct below needs the next number, an up-caster and a golden file."""

READABLE = frozenset({1, 2})
"""Codecs that are read. 2 added a field at the end of ``Sent``, ``Run`` and ``ContactState``; defaults cast 1 up."""

SEEN_SPAN = 72 * HOUR
"""A generation of remembered event keys is kept for at least this long after it was closed (design.md 4)."""

SEEN_KEYS = 256
"""Keys in one generation: a contact with more events than this in 72 h closes its generation earlier."""

SENDS = 24
"""Sends remembered per contact: at several mails a week, enough for the opens and clicks of a month."""

SCOPES = 64
"""Subscription scopes remembered per contact; beyond it those given back go first."""

PURPOSES = 16
"""Consent purposes remembered per contact."""

CREDIT_CLICKS = 24
"""Human clicks kept for credit: the newest, and those that an event out of order may look back to."""

NULL_CLICKS = 16
"""Clicks of unknown origin kept as evidence of a burst, which needs a handful within seconds."""

HELD_CLICKS = 32
"""Clicks that can be held at a time; a person does not make more in ten seconds."""

ERASED_FOR = 90 * DAY
"""An erasure marker outlives every provider's retries and the retention of ``email.events`` (30 d) by far."""


class Sent(Struct, array_like=True, gc=False):
    """One send of the contact and what became of it (``flags``)."""

    campaign: str | None
    at: int
    """When it was first delivered if ``DELIVERED`` is set, else when it was first heard of."""
    flags: int = 0
    again: int = 0
    """When it was last delivered, if that was reported for more than one time: clicks are judged by it."""


SENT = 1
DELIVERED = 2
OPENED = 4
OPENED_HUMAN = 8
CLICKED = 16
CLICKED_HUMAN = 32
MACHINE = 64
UNSUBSCRIBED = 128
COMPLAINED = 256
BOUNCED = 512


class SendAt(Struct, array_like=True, gc=False, frozen=True):
    """A named send at a time: the last delivery, or a human click that earns credit."""

    at: int
    campaign: str | None
    message: str | None


class Withdrawal(Struct, array_like=True, gc=False, frozen=True):
    """The newest word, by its own time, on one scope and id."""

    at: int
    in_force: bool
    """False: given back."""
    send_at: int = 0
    """Last delivery before it, known on arrival: ``after_send`` is judged once (journeys.md 2)."""
    send_campaign: str | None = None


class Grant(Struct, array_like=True, gc=False, frozen=True):
    """The newest word, by its own time, on one purpose of consent."""

    at: int
    given: bool
    since: int = 0
    """When the unbroken consent began: given again restarts nothing."""
    withdrawn: int = 0
    """The newest withdrawal ever heard of: a grant older than it began nothing."""


class Held(Struct, array_like=True, gc=False, frozen=True):
    """A click of unknown origin that waits for its verdict (journeys.md 2, Machines)."""

    due: int
    at: int
    id: str
    campaign: str | None
    message: str | None
    url: str | None
    """Without its query: it is kept for the record only, which has none either."""
    counted: bool
    """False for a variant: it flips flags and adds to no raw count."""
    waiting: dict[str, tuple[int, ...]]
    """Journeys that it has yet to act in, with what it was to them on arrival (``step.py``); ``""`` stands for what is
    common to all of them (credit, metrics) and comes first."""


class Lens(Struct, array_like=True, gc=False):
    """Engagement as one group of journeys may see it: those with the same ``bots`` and the same ``consent``."""

    clicks: tuple[SendAt, ...] = ()
    """Human clicks that name a send, oldest first: ``last_click`` credit reaches across runs."""
    held: tuple[Held, ...] = ()


NONE = 0
ACTIVE = 1
EXITED = 2

Fact = int | tuple[int, ...]
"""What one condition has counted; the forms are listed in ``conditions.py``."""


class Run(Struct, array_like=True, gc=False):
    """One journey of one contact: the present run, or what the last one left behind."""

    status: int = NONE
    number: int = 0
    """Runs so far: part of every id."""
    move: int = 0
    """Records so far in this run: part of every id."""
    place: str = ""
    """Stage or setback; after the end, the exit."""
    stage: str = ""
    """The stage, or the one before the present setback: ``from`` of a setback looks here."""
    best: str = ""
    """Highest stage so far: advances start above it, recoveries go back to it."""
    began: int = 0
    """``after`` and ``goal.within`` count from here."""
    since: int = 0
    """Last real move: dwell, ``stuck`` and stalls count from here; in a setback, its begin."""
    settled: int = 0
    """Last move into a stage: ``quiet`` counts from here, a setback does not restart it. Negative after an exit, until
    activity comes (``conditions.py``)."""
    last: int = 0
    """``at`` of the last record, also of the last run: no record goes before it; ``reenter: after`` counts from it."""
    peaked: bool = False
    """The goal's stage was reached, in time or not: only the first move there can have ``goal``."""
    goal: bool = False
    """It was reached in time."""
    stalled: bool = False
    """A stall was reported for this stay."""
    active: int = 0
    """Newest activity for ``quiet``: kept across runs."""
    opened: int = 0
    """Newest human open, for ``quiet`` with ``opens``."""
    clicked: int = 0
    """Newest human click that restarts ``no_click``."""
    recovered: int = 0
    """``at`` of the last recovery: it restarts ``no_click`` too."""
    facts: dict[int, Fact] = {}
    """What each condition has counted, by its key: a number, or a flat list of times and keys (``compile.py``)."""
    timers: dict[int, int] = {}
    """Pending timers: key of the rule's condition to due time. They survive whatever the state does."""
    version: int = 0
    """``number`` of the version that an active run finishes on (``on_change: finish``); 0: the one in force."""


class ContactState(Struct, array_like=True, gc=False):
    """Everything that is remembered of one contact."""

    erased: int = 0
    """When the contact was erased; then nothing else is kept, and later events are refused."""
    due: int = 0
    """The earliest pending timer, 0: none. Kept so that the index of timers need not look inside."""
    seen: bytes = b""
    """Keys of recent events, 8 bytes each: the present generation."""
    seen_before: bytes = b""
    """The generation before: together they remember at least ``SEEN_SPAN``."""
    seen_since: int = 0
    """Partition clock when the present generation began."""
    sends: dict[int, Sent] = {}
    """The newest sends, by ``send_key``."""
    last_send: SendAt | None = None
    """The newest delivery known, with its texts: it stands on every record."""
    register: dict[str, Withdrawal] = {}
    """Subscription scopes, keyed ``scope`` or ``scope:id``."""
    subscribed: int = 0
    """Newest ``contact.subscribed``: it gives back scopes that are yet to be heard of."""
    consents: dict[str, Grant] = {}
    """By purpose; ``""`` is what was said for all purposes."""
    null_clicks: tuple[tuple[int, int, int], ...] = ()
    """Clicks of unknown origin, oldest first: time, send key, hash of the URL."""
    lenses: dict[int, Lens] = {}
    runs: dict[str, Run] = {}
    """By journey."""
    epoch: int = 0
    """The change of definitions that it was brought up to, as the number of its batch; 0: none so far."""


copy_state: Callable[[ContactState], ContactState] = ContactState.__copy__  # type: ignore[attr-defined]
copy_run: Callable[[Run], Run] = Run.__copy__  # type: ignore[attr-defined]
"""Shallow copies without the detour over ``copy.copy``, which takes 0.25 us instead of 0.1."""


_hasher = hashlib.blake2b(digest_size=8)


def digest(text: str) -> bytes:
    """Eight bytes that stand for an event id: a contact remembers some hundreds, so two meet once in 10^14 events."""
    hasher = _hasher.copy()  # 0.5 us instead of 0.8 for a new one, which reads its arguments
    hasher.update(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))
    return hasher.digest()


def number(text: str) -> int:
    """32 bits that stand for ``text`` among the few things of a contact or a journey that it can be confused with.

    CRC-32, because it takes a quarter of the time of a digest, and five bytes when packed.
    """
    return crc32(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1024)
def campaign_number(campaign: str) -> int:
    """``number`` of a campaign where it must differ from that of any message. A stream is of few campaigns."""
    return number(f"campaign {campaign}")


def send_key(campaign: str | None, message: str | None) -> int:
    """What makes a send one: its message, else its campaign; 0 when it has neither."""
    if message is not None:
        return crc32(message.encode("utf-8", "surrogatepass"))
    return campaign_number(campaign) if campaign is not None else 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ContactState).decode
_HEAD = bytes([CODEC])


def pack(state: ContactState) -> bytes:
    """Stored form: the codec byte, then msgpack. Equal states give equal bytes when made in the same order."""
    return _HEAD + _encode(state)


def unpack(data: bytes) -> ContactState:
    """The state in ``data``; ``ValueError`` when it was not packed by a codec known here."""
    if not data or data[0] not in READABLE:
        raise ValueError(f"packed state has codec {data[0] if data else 'none'}, this version reads up to {CODEC}")
    try:
        return _decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        raise ValueError(f"packed state cannot be read: {error}") from error


def next_due(state: ContactState) -> int | None:
    """When the contact's first timer is due, micros; None when it has none."""
    return state.due or None


class _Head(Struct, array_like=True, gc=False):
    """The first fields of ``ContactState``: decoding stops paying for what comes after."""

    erased: int = 0
    due: int = 0


_decode_head = msgspec.msgpack.Decoder(_Head).decode


def packed_due(data: bytes) -> int | None:
    """``next_due`` of a packed state, without unpacking it: a restore asks for every contact. Raises as ``unpack``."""
    if not data or data[0] not in READABLE:
        raise ValueError(f"packed state has codec {data[0] if data else 'none'}, this version reads up to {CODEC}")
    try:
        return _decode_head(memoryview(data)[1:]).due or None
    except msgspec.DecodeError as error:
        raise ValueError(f"packed state cannot be read: {error}") from error


def first_due(state: ContactState) -> int:
    """When the first pending timer is due, found by looking at all of them; 0: none. What ``due`` must be."""
    first = 0
    for run in state.runs.values():
        if run.timers:
            due = min(run.timers.values())
            if not first or due < first:
                first = due
    for lens in state.lenses.values():
        for click in lens.held:
            if not first or click.due < first:
                first = click.due
    return first
