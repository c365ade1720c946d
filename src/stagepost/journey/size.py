"""How large the state of one contact can become: a bound in bytes of its packed form, from the compiled journeys.

Law: no stream of events makes a packed state (``state.pack``) of these journeys longer than ``bound``. Each part is the
most that its ring or leaf keeps (``state.py``, ``conditions.py``), each number and text as long as msgpack can need.
The bound is for contacts that were first seen under these definitions: what an older version has left behind comes on
top until its run ends. May not contain: measured or typical sizes.

What msgpack needs: 9 bytes for a time in micros (they pass 2^32), 5 for a 32-bit key, 1 for numbers below 128 and for
true and false, up to 5 in front of a text, 3 in front of a list or mapping of up to 65,535.
"""

from __future__ import annotations

from dataclasses import dataclass

from stagepost.journey import conditions as c
from stagepost.journey.compile import JourneyProgram, LensProgram, Program
from stagepost.journey.conditions import Leaf
from stagepost.journey.register import ACCOUNT_TAG, TEXT_LIMIT
from stagepost.journey.sends import NAME_LIMIT
from stagepost.journey.state import (
    CREDIT_CLICKS,
    HELD_CLICKS,
    PURPOSES,
    SCOPES,
    SEEN_KEYS,
    SENDS,
)
from stagepost.journey.step import CONSENT_EXIT, HELD_TYPE, URL_LIMIT

TIME, KEY, SMALL, FLAGS, FRONT = 9, 5, 1, 3, 3
"""Bytes of a time, a key, a small number or truth value, the flags of a send, and the front of a list or mapping."""

ID_LIMIT = 256
"""Characters of an event id: what is longer never gets to a journey (``engine/intake.py``)."""

PER_CHARACTER = 4
"""Most bytes of a character in UTF-8."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Bytes of one contact's state, by part. ``journeys``: by name."""

    dedup: int
    sends: int
    register: int
    consent: int
    clicks: int
    """Evidence of bursts, clicks for credit, clicks that are held."""
    journeys: dict[str, int]
    rest: int
    """The codec byte and single fields."""

    @property
    def total(self) -> int:
        parts = (self.dedup, self.sends, self.register, self.consent, self.clicks, self.rest)
        return sum(parts) + sum(self.journeys.values())


def bound(program: Program, text_bytes: int | None = None) -> Bound:
    """The bound of a contact's state. ``text_bytes``: no text of an event has more; None: as long as the limits are."""
    texts = _Texts(text_bytes)
    return Bound(
        dedup=2 * (FRONT + 8 * SEEN_KEYS) + TIME,
        sends=FRONT + SENDS * (KEY + 1 + texts.name + TIME + FLAGS) + _send_at(texts),
        register=FRONT + SCOPES * (texts.scope + 1 + TIME + SMALL + TIME + texts.name) + TIME,
        # The purposes that fill it, one more that still finds it not yet too full, and "" for all purposes.
        consent=FRONT + (PURPOSES + 2) * (texts.purpose + 1 + TIME + SMALL + TIME + TIME),
        clicks=_evidence(program) + FRONT + sum(_lens(program, lens, texts) for lens in program.lenses),
        journeys={journey.name: _run(journey) for journey in program.journeys},
        rest=1 + FRONT + TIME + TIME + FRONT + TIME,
    )


class _Texts:
    """Most bytes of each kind of text, its front included."""

    def __init__(self, most: int | None) -> None:
        self.id = _text(ID_LIMIT, most)
        self.name = _text(NAME_LIMIT, most)
        self.url = _text(URL_LIMIT, most)
        self.purpose = _text(TEXT_LIMIT, most)
        self.scope = _text(TEXT_LIMIT, most) + 1 + _text(TEXT_LIMIT, most) + 1 + ACCOUNT_TAG


def _text(characters: int, most: int | None) -> int:
    return 5 + (characters * PER_CHARACTER if most is None else min(most, characters * PER_CHARACTER))


def _send_at(texts: _Texts) -> int:
    return 1 + TIME + texts.name + texts.name


def _evidence(program: Program) -> int:
    return FRONT + program.burst_keep * (1 + TIME + KEY + KEY)


def _lens(program: Program, lens: LensProgram, texts: _Texts) -> int:
    """Credit clicks and held clicks of one group of journeys."""
    held = 0
    if lens.bots is not None:
        journeys = [journey for journey in program.journeys if journey.lens == lens.key]
        waiting = FRONT + 1 + FRONT + sum(_waiting(program, journey) for journey in journeys)
        held = HELD_CLICKS * (1 + TIME + TIME + texts.id + texts.name + texts.name + texts.url + SMALL + waiting)
    return KEY + 1 + FRONT + CREDIT_CLICKS * _send_at(texts) + FRONT + held


def _waiting(program: Program, journey: JourneyProgram) -> int:
    """What a held click keeps for a journey: whether it is calm, and every leaf that a click can match."""
    route = program.routes[HELD_TYPE]
    groups = [route.plain, route.calm_free]
    groups += (*route.by_campaign.values(), *route.by_glob.values(), *route.by_link.values())
    leaves = {entry.touch[0].key for group in groups for entry in group if entry.journey == journey.index}
    return _name(journey.name) + FRONT + SMALL + len(leaves) * TIME


def _run(journey: JourneyProgram) -> int:
    """A run at its fullest: every leaf has counted all it can, every timer is pending."""
    definition = journey.definition
    names = [place.name for place in definition.stages] + [place.name for place in definition.setbacks]
    names += [exit_.name for exit_ in definition.exits] + [CONSENT_EXIT]
    longest = max(map(_name, names))
    fields = SMALL + 2 * TIME + 3 * longest + 5 * TIME + 3 * SMALL + 4 * TIME + KEY
    facts = FRONT + sum(KEY + fact_bytes(leaf) for leaf in journey.leaves.values())
    timers = FRONT + (KEY + TIME) * (1 + sum(bool(leaf.kind) for leaf in journey.leaves.values()))
    return _name(journey.name) + FRONT + fields + facts + timers


def _name(text: str) -> int:
    return 2 + len(text)


def fact_bytes(leaf: Leaf) -> int:
    """Most bytes of what a leaf keeps; the forms are listed in ``conditions.py``."""
    if isinstance(leaf, c.Signal):
        return 0
    if isinstance(leaf, c.Once | c.Times):
        return SMALL
    if isinstance(leaf, c.Timer):
        return TIME
    if isinstance(leaf, c.Campaigns):
        return FRONT + leaf.n * KEY
    if isinstance(leaf, c.TimesWithin):
        return FRONT + (leaf.n + c.SLACK) * TIME
    if isinstance(leaf, c.CampaignsWithin):
        return FRONT + (leaf.n + c.SLACK) * (TIME + KEY)
    if isinstance(leaf, c.NoClickLeaf):
        return FRONT + TIME + (leaf.n + c.SLACK) * (TIME + KEY)
    if isinstance(leaf, c.MissedLeaf):
        return FRONT + TIME + TIME + c.SLACK * TIME
    raise TypeError(f"{type(leaf).__name__} has no bound")
