"""What can be wrong with a journey file: one catalogue for ``validate``, ``explain-code`` and the documentation."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from stagepost.journey.definition import Position


class Severity(StrEnum):
    """Errors stop a worker and ``simulate``; warnings never do."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Code:
    """One entry: ``title`` for lists, ``rule`` what the language says, ``example`` of how to mend it.

    ``broken``: a short file that has this problem and no other.
    """

    id: str
    severity: Severity
    title: str
    rule: str
    example: str
    broken: str


def _error(id_: str, title: str, rule: str, example: str, broken: str) -> Code:
    return Code(id_, Severity.ERROR, title, rule, example, broken)


def _warning(id_: str, title: str, rule: str, example: str, broken: str) -> Code:
    return Code(id_, Severity.WARNING, title, rule, example, broken)


_LINKED = "journey: nurture\nlinks: {pricing: example.com/pricing}\nstages:\n"
_STAGED = "journey: nurture\nstages:\n  - subscribed: contact.subscribed\n  - customer: order.completed\n"
_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"


NOT_YAML = _error(
    "SP001",
    "not YAML",
    "The file is YAML 1.2 in UTF-8.",
    "stages:\n  - subscribed: contact.subscribed",
    "journey: nurture\nstages:\n\t- subscribed: contact.subscribed\n",
)
TOO_LARGE = _error(
    "SP002",
    "too large",
    "A file has at most 1 MiB, 20,000 values and 32 levels, anchors expanded.",
    "split the file",
    _BOMB + "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d]\n",
)
UNKNOWN_KEY = _error(
    "SP101",
    "unknown key",
    "Only the keys of the journey language are read; others are typing errors.",
    "exits:\n  - complained: email.complained",
    _STAGED + "exit:\n  - complained: email.complained\n",
)
MISSING_KEY = _error(
    "SP102",
    "missing key",
    "A journey has at least a name and one stage.",
    "journey: webinar-nurture",
    "stages:\n  - subscribed: contact.subscribed\n",
)
WRONG_KIND = _error(
    "SP103",
    "wrong kind of value",
    "Each key takes one kind of value: text, number, list or mapping.",
    "sends: [weekly-*]",
    _STAGED + "sends: weekly-*\n",
)
DUPLICATE_KEY = _error(
    "SP104",
    "key given twice",
    "A key stands once in its mapping.",
    "any: [..., ...] for two conditions",
    _STAGED + "title: One\ntitle: Two\n",
)
BAD_NAME = _error(
    "SP105",
    "not a name",
    "Names are [a-z][a-z0-9_-]*, at most 64 characters; any and all are reserved for links.",
    "journey: my-journey",
    "journey: My Journey\nstages:\n  - subscribed: contact.subscribed\n",
)
DUPLICATE_NAME = _error(
    "SP106",
    "name given twice",
    "Stages, setbacks and exits of a journey have different names; so have its links, and its tests.",
    "dormant_2",
    _STAGED + "exits:\n  - customer: email.complained\n",
)
BAD_DURATION = _error(
    "SP107",
    "not a duration",
    "Durations are a number and one of s m h d w, at most 3650d.",
    "within: 48h",
    _STAGED + "setbacks:\n  - dormant: {quiet: 14 days, until: never}\n",
)
OUT_OF_RANGE = _error(
    "SP108",
    "number out of range",
    "Counts are bounded, so that what is remembered is.",
    "times: 3",
    _LINKED + "  - keen: {clicked: pricing, times: 0}\n",
)
NO_CHOICE = _error(
    "SP109", "not one of the choices", "This key takes one of a few words.", "enter: first", _STAGED + "enter: last\n"
)
UNKNOWN_LINK = _error(
    "SP201",
    "unknown link",
    "clicked names links that stand under links, or any.",
    "clicked: pricing",
    _LINKED + "  - keen: {clicked: pricng}\n",
)
DEAD_LINK = _error(
    "SP202",
    "link that no click can match",
    "A link is a host and perhaps a path, without blanks.",
    "example.com/pricing/**",
    "journey: nurture\nlinks: {pricing: /pricing}\nstages:\n  - keen: {clicked: pricing}\n",
)
UNKNOWN_STAGE = _error(
    "SP203",
    "unknown stage",
    "goal and from name stages of this journey.",
    "goal: {reach: customer}",
    _STAGED + "goal: {reach: custmer}\n",
)
UNKNOWN_EXIT = _error(
    "SP204",
    "unknown exit",
    "never_after names exits of this journey.",
    "never_after: [complained]",
    _STAGED + "reenter: {after: 90d, never_after: [complained]}\n",
)
NO_CONDITION = _error(
    "SP301",
    "no condition",
    "A condition is an event type with a dot, or a mapping with one of event clicked opened subscribed unsubscribed "
    "no_click quiet missed stuck after any all not.",
    "when: {clicked: any}",
    _LINKED + "  - keen: clicked\n",
)
NO_WAY_OUT = _error(
    "SP302",
    "setback without a way out",
    "A setback ends by its own until, by the journey's recover, or says until: never.",
    "recover: {clicked: any}",
    _STAGED + "setbacks:\n  - dormant: {quiet: 14d}\n",
)
BAD_NOT = _error(
    "SP303",
    "not around something it cannot deny",
    "not takes one event or (un)subscribed condition without within.",
    "not: {unsubscribed: all}",
    _STAGED + "exits:\n  - lost: {all: [email.bounced, {not: {quiet: 3d}}]}\n",
)
TOO_DEEP = _error(
    "SP304",
    "nested too deep",
    "any, all, not and missed nest to depth 4.",
    "name the parts as stages",
    _LINKED + "  - keen: {any: [{all: [{any: [{all: [{any: [{clicked: pricing}]}]}]}]}]}\n",
)
BAD_MISSED = _error(
    "SP305",
    "missed of something that is no event",
    "first and then are event or (un)subscribed conditions, or any of them, without times and within.",
    "missed: {first: {clicked: pricing}, then: order.completed, within: 5d}",
    _LINKED + "  - lost: {missed: {first: {quiet: 3d}, then: order.completed, within: 5d}}\n",
)
BAD_AFTER_SEND = _error(
    "SP306",
    "after_send where it has no meaning",
    "after_send measures from the last delivered send, so not on email.delivered; on unsubscribed campaign needs it.",
    "{event: email.delivered}",
    _LINKED + "  - browsing: {event: email.delivered, after_send: 24h}\n",
)
BAD_WHERE = _error(
    "SP307",
    "test that cannot hold",
    "where tests fields with eq ne gt ge lt le in prefix matches exists.",
    "where: {total: {gt: 0}}",
    _LINKED + "  - customer: {event: order.completed, where: {total: {above: 0}}}\n",
)
NEVER_ACTS = _error(
    "SP308",
    "rule that never acts",
    "A rule acts at an event or timer of its own; what stands under not moves nobody.",
    "all: [order.completed, {not: {unsubscribed: all}}]",
    _STAGED + "exits:\n  - lost: {not: {unsubscribed: all}}\n",
)
BAD_TEST = _error(
    "SP401",
    "line of a test that cannot be read",
    "OFFSET EVENT [key=value ...].",
    "2d sent nurture-1",
    _STAGED + "tests:\n  - name: jumps\n    events: [0d jump]\n    expect: []\n",
)
BAD_EXPECT = _error(
    "SP402",
    "expectation that cannot be read",
    "OFFSET from -> to, or OFFSET stall STAGE.",
    "6d interested -> drifting",
    _STAGED + "tests:\n  - name: enters\n    events: [0d contact.subscribed]\n    expect: [0d subscribed]\n",
)
UNREACHABLE = _warning(
    "SP601",
    "stage that nobody stays in",
    "Whatever reaches this stage reaches a higher one at the same event.",
    "put the wider condition first",
    _LINKED + "  - interested: {clicked: pricing}\n  - engaged: {clicked: any}\n",
)
LONG_GRACE = _warning(
    "SP602",
    "grace longer than quiet",
    "quiet fires before no_click has waited for its grace.",
    "no_click: {sends: 3, grace: 48h}",
    _STAGED
    + "setbacks:\n  - dormant: {quiet: 3d}\n  - at_risk: {no_click: {sends: 3, grace: 5d}}\nrecover: {clicked: any}\n",
)
SHADOWED = _warning(
    "SP603",
    "exit that shadows a stage",
    "Exits are tried first, so no run moves on to the stage.",
    "drop one",
    _STAGED + "exits:\n  - bought: order.completed\n",
)
OPENS = _warning(
    "SP604",
    "reliance on opens",
    "Mail programs open by themselves, and block the pixel: opens are unreliable.",
    "clicked: any",
    _LINKED + "  - engaged: {opened: any}\n",
)
NEARLY_ALL = _warning(
    "SP605",
    "scope that looks like all or any",
    "unsubscribed and subscribed take all, any, or the id of a list or group; all and any are whole words.",
    "unsubscribed: all",
    _STAGED + "exits:\n  - left: {unsubscribed: al}\n",
)
STRANGE_TYPE = _warning(
    "SP606",
    "type that looks like one of the vocabulary",
    "Types that begin with email. or contact. are a closed list; another one is a custom activity of that name.",
    "clicked: any",
    _LINKED + "  - keen: {clicked: pricing}\n  - engaged: email.reply\n",
)
TEXT_FOR_NUMBER = _warning(
    "SP607",
    "text that looks like a number or a comparison",
    "In where, text compares with text and a number with numbers; an operator is a key, not a part of the text.",
    "where: {total: {gt: 50}}",
    _STAGED + '  - rich: {event: order.completed, where: {total: "> 50"}}\n',
)
NO_EFFECT = _warning(
    "SP608",
    "setting without effect",
    "within and per say how events are counted, which needs times; alone, one event is enough.",
    "{clicked: pricing, times: 3, within: 7d}",
    _LINKED + "  - keen: {clicked: pricing, within: 7d}\n",
)

CATALOGUE: dict[str, Code] = {code.id: code for code in list(globals().values()) if isinstance(code, Code)}


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in one file: the place, the code, what is wrong and how to mend it."""

    source: str
    position: Position
    code: Code
    message: str

    def __str__(self) -> str:
        return f"{self.source}:{self.position.line}:{self.position.column}: {self.code.id} {self.message}"

    @property
    def is_error(self) -> bool:
        return self.code.severity == Severity.ERROR


def did_you_mean(given: str, known: Collection[str]) -> str:
    """`` (did you mean x?)`` when something known is close, else nothing."""
    close = closest(given, known)
    return f" (did you mean {close}?)" if close else ""


def closest(given: str, known: Collection[str]) -> str | None:
    """What was probably meant, when something known is close."""
    close = difflib.get_close_matches(given[:80].lower(), list(islice(known, 200)), n=1, cutoff=0.6)
    return close[0] if close else None
