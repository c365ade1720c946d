"""What can be wrong with a journey file: one catalogue for ``validate``, ``explain-code`` and the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stagepost.journey.definition import Position


class Severity(StrEnum):
    """Errors stop a worker and ``simulate``; warnings never do."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Code:
    """One entry: ``title`` for lists, ``rule`` what the language says, ``example`` of how to mend it."""

    id: str
    severity: Severity
    title: str
    rule: str
    example: str


def _error(id_: str, title: str, rule: str, example: str) -> Code:
    return Code(id_, Severity.ERROR, title, rule, example)


def _warning(id_: str, title: str, rule: str, example: str) -> Code:
    return Code(id_, Severity.WARNING, title, rule, example)


NOT_YAML = _error("SP001", "not YAML", "The file is YAML 1.2 in UTF-8.", "stages:\n  - subscribed: contact.subscribed")
TOO_LARGE = _error(
    "SP002", "too large", "A file has at most 1 MiB, 20,000 values and 32 levels, anchors expanded.", "split the file"
)
UNKNOWN_KEY = _error(
    "SP101",
    "unknown key",
    "Only the keys of the journey language are read; others are typing errors.",
    "stalls_after: 21d",
)
MISSING_KEY = _error("SP102", "missing key", "A journey has at least a name and one stage.", "journey: webinar-nurture")
WRONG_KIND = _error(
    "SP103",
    "wrong kind of value",
    "Each key takes one kind of value: text, number, list or mapping.",
    "sends: [weekly-*]",
)
DUPLICATE_KEY = _error(
    "SP104", "key given twice", "A key stands once in its mapping.", "any: [..., ...] for two conditions"
)
BAD_NAME = _error(
    "SP105",
    "not a name",
    "Names are [a-z][a-z0-9_-]*, at most 64 characters; any and all are reserved for links.",
    "at_risk",
)
DUPLICATE_NAME = _error(
    "SP106",
    "name given twice",
    "Stages, setbacks and exits of a journey have different names; so have its links.",
    "dormant_2",
)
BAD_DURATION = _error(
    "SP107", "not a duration", "Durations are a number and one of s m h d w, at most 3650d.", "within: 48h"
)
OUT_OF_RANGE = _error("SP108", "number out of range", "Counts are bounded, so that what is remembered is.", "times: 3")
NO_CHOICE = _error("SP109", "not one of the choices", "This key takes one of a few words.", "enter: first")
UNKNOWN_LINK = _error(
    "SP201", "unknown link", "clicked names links that stand under links, or any.", "clicked: pricing"
)
DEAD_LINK = _error(
    "SP202",
    "link that no click can match",
    "A link is a host and perhaps a path, without blanks.",
    "example.com/pricing/**",
)
UNKNOWN_STAGE = _error(
    "SP203", "unknown stage", "goal and from name stages of this journey.", "goal: {reach: customer}"
)
UNKNOWN_EXIT = _error("SP204", "unknown exit", "never_after names exits of this journey.", "never_after: [complained]")
NO_CONDITION = _error(
    "SP301",
    "no condition",
    "A condition is an event type with a dot, or a mapping with one of event clicked opened subscribed unsubscribed "
    "no_click quiet missed stuck after any all not.",
    "when: {clicked: any}",
)
NO_WAY_OUT = _error(
    "SP302",
    "setback without a way out",
    "A setback ends by its own until, by the journey's recover, or says until: never.",
    "recover: {clicked: any}",
)
BAD_NOT = _error(
    "SP303",
    "not around something it cannot deny",
    "not takes one event or (un)subscribed condition without within.",
    "not: {unsubscribed: all}",
)
TOO_DEEP = _error("SP304", "nested too deep", "any, all, not and missed nest to depth 4.", "name the parts as stages")
BAD_MISSED = _error(
    "SP305",
    "missed of something that is no event",
    "first and then are event or (un)subscribed conditions, or any of them, without times and within.",
    "missed: {first: {clicked: pricing}, then: order.completed, within: 5d}",
)
BAD_AFTER_SEND = _error(
    "SP306",
    "after_send where it has no meaning",
    "after_send measures from the last delivered send, so not on email.delivered; on unsubscribed campaign needs it.",
    "unsubscribed: any, after_send: 24h",
)
BAD_WHERE = _error(
    "SP307",
    "test that cannot hold",
    "where tests fields with eq ne gt ge lt le in prefix matches exists.",
    "where: {total: {gt: 0}}",
)
BAD_TEST = _error("SP401", "line of a test that cannot be read", "OFFSET EVENT [key=value ...].", "2d sent nurture-1")
BAD_EXPECT = _error(
    "SP402", "expectation that cannot be read", "OFFSET from -> to, or OFFSET stall STAGE.", "6d interested -> drifting"
)
UNREACHABLE = _warning(
    "SP601",
    "stage that nobody stays in",
    "Whatever reaches this stage reaches a higher one at the same event.",
    "put the wider condition first",
)
LONG_GRACE = _warning(
    "SP602",
    "grace longer than quiet",
    "quiet fires before no_click has waited for its grace.",
    "no_click: {sends: 3, grace: 48h}",
)
SHADOWED = _warning(
    "SP603", "exit that shadows a stage", "Exits are tried first, so the stage is never reached.", "drop one"
)
OPENS = _warning(
    "SP604",
    "reliance on opens",
    "Mail programs open by themselves, and block the pixel: opens are unreliable.",
    "clicked: any",
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
