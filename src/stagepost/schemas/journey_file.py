"""A journey file as pydantic models, for its JSON Schema: the structure that ``journey/parse.py`` accepts.

Not said here, because JSON Schema cannot: that names are known and differ, that a setback has a way out, the depth of
nesting, the longest duration, RE2 syntax. ``validate`` says all of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, create_model
from typing_extensions import TypeAliasType

from stagepost.journey.definition import SCOPES
from stagepost.journey.parse import ENTRIES, LIMITS, SENDS, TIMES
from stagepost.journey.timeline_lines import LINES
from stagepost.schemas.telling import Absent, told

_NAME = r"^[a-z][a-z0-9_-]{0,63}$"
_NUMBER = r"[0-9]{1,9}[smhdw]"

Name = Annotated[str, Field(pattern=_NAME)]
LinkName = Annotated[str, Field(pattern=_NAME, json_schema_extra={"not": {"enum": ["any", "all"]}})]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Path = Annotated[str, Field(min_length=1, max_length=256)]
Duration = Annotated[str, Field(pattern=r"^0*[1-9][0-9]*[smhdw]$", max_length=10)]
"""At most nine digits, and not only zeros."""

EventType = TypeAliasType(
    "EventType",
    Annotated[
        str,
        Field(
            pattern=r"^[^\s.]+(\.[^\s.]+)+$",
            max_length=256,
            description="The type of an event; it has a dot.",
            examples=["contact.subscribed", "order.completed"],
        ),
    ],
)

Scalar: TypeAlias = StrictStr | StrictBool | StrictInt | StrictFloat
Ordered: TypeAlias = StrictStr | StrictInt | StrictFloat


class _Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Tests(_Strict):
    """Tests of one field; all must hold. A missing field passes none but ``exists: false``."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    eq: Absent[Scalar] = told("Equal.", "pro", default=None)
    ne: Absent[Scalar] = told("There, and not equal.", "free", default=None)
    gt: Absent[Ordered] = told("Greater than.", 0, default=None)
    ge: Absent[Ordered] = told("Greater than or equal.", 50, default=None)
    lt: Absent[Ordered] = told("Less than.", 100, default=None)
    le: Absent[Ordered] = told("Less than or equal.", 100, default=None)
    in_: Absent[Annotated[list[Scalar], Field(min_length=1)]] = told(
        "One of these.", ["pro", "team"], alias="in", default=None
    )
    prefix: Absent[StrictStr] = told("A text that begins so.", "web", default=None)
    matches: Absent[StrictStr] = told("A text in which this RE2 expression is found.", "^web-[0-9]+$", default=None)
    exists: Absent[StrictBool] = told("Whether the field is there at all.", True, default=None)


Where = Annotated[dict[Path, Scalar | Tests], Field(max_length=ENTRIES)]


class ScopeAndId(_Strict):
    """One kind of subscription, and which of them."""

    scope: Literal[SCOPES] = told("Kind of subscription.", "list")  # type: ignore[valid-type]
    id: Absent[Text] = told("Which one; * stands for anything.", "newsletter", default=None)


Scopes: TypeAlias = Literal["any", "all"] | Text | ScopeAndId


# What can stand beside the head of a condition on events. Fields of the last base come first in the schema.


class _Matched(_Strict):
    where: Absent[Where] = told("Tests of fields, by dotted path.", {"total": {"gt": 0}}, {"plan": "pro"}, default=None)
    campaign: Absent[Text] = told("Campaign of the event; * stands for anything.", "nurture-*", default=None)
    after_send: Absent[Duration] = told(
        "It came so soon after the last delivered send; campaign then names that send.", "24h", default=None
    )


class _Repeated(_Strict):
    times: Absent[Annotated[int, Field(strict=True, ge=1, le=TIMES)]] = told(
        "At least so many matching events.", 3, default=None
    )
    per: Absent[Literal["campaign"]] = told("Count different campaigns, not events.", "campaign", default=None)


class _Windowed(_Strict):
    within: Absent[Duration] = told("Counted over so long; without it, over the run.", "7d", default=None)


class _Single(_Strict):
    times: Absent[Literal[1]] = told("One matching event.", 1, default=None)


class _Event(_Strict):
    """An event of this type occurred in this run."""

    event: EventType = told("Type of the event.", "order.completed")


class _Clicked(_Strict):
    """A person clicked."""

    clicked: Name | Annotated[list[Name], Field(min_length=1)] = told(
        "any, a name under links, or a list of them.", "any", "pricing", ["pricing", "signup"]
    )


class _Opened(_Strict):
    """A person opened, as far as anyone can tell: opens are unreliable."""

    opened: Literal["any"] = told("The only word.", "any")


class _Subscribed(_Strict):
    """A subscription or re-subscription occurred in this run."""

    subscribed: Scopes = told("any, all, an id, or scope and id.", "any", {"scope": "list", "id": "newsletter"})


class Unsubscribed(_Strict):
    """A withdrawal is in force now."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"campaign": ["after_send"]}})

    unsubscribed: Scopes = told("any, all (mail as a whole), an id, or scope and id.", "all", "any", "newsletter")
    after_send: Absent[Duration] = told("It came so soon after the last delivered send.", "24h", default=None)
    campaign: Absent[Text] = told("Campaign of that send; * stands for anything.", "nurture-*", default=None)


_NOT_FROM_ITSELF = ConfigDict(
    json_schema_extra={
        "not": {"properties": {"event": {"const": "email.delivered"}}, "required": ["event", "after_send"]}
    }
)
"""``after_send`` on ``email.delivered`` would measure a send from itself."""


class Event(_Windowed, _Repeated, _Matched, _Event):
    __doc__ = _Event.__doc__
    model_config = _NOT_FROM_ITSELF


class Clicked(_Windowed, _Repeated, _Matched, _Clicked):
    __doc__ = _Clicked.__doc__


class Opened(_Windowed, _Repeated, _Matched, _Opened):
    __doc__ = _Opened.__doc__


class Subscribed(_Windowed, _Repeated, _Matched, _Subscribed):
    __doc__ = _Subscribed.__doc__


class EventDenied(_Repeated, _Matched, _Event):
    """Such an event, at any time of the run."""

    model_config = _NOT_FROM_ITSELF


class ClickedDenied(_Repeated, _Matched, _Clicked):
    """Such a click, at any time of the run."""


class OpenedDenied(_Repeated, _Matched, _Opened):
    """Such an open, at any time of the run."""


class SubscribedDenied(_Repeated, _Matched, _Subscribed):
    """Such a subscription, at any time of the run."""


class EventOnce(_Single, _Matched, _Event):
    """One such event."""

    model_config = _NOT_FROM_ITSELF


class ClickedOnce(_Single, _Matched, _Clicked):
    """One such click."""


class OpenedOnce(_Single, _Matched, _Opened):
    """One such open."""


class SubscribedOnce(_Single, _Matched, _Subscribed):
    """One such subscription."""


Deniable: TypeAlias = EventType | EventDenied | ClickedDenied | OpenedDenied | SubscribedDenied | Unsubscribed
Once: TypeAlias = EventType | EventOnce | ClickedOnce | OpenedOnce | SubscribedOnce | Unsubscribed


class AnyOnce(_Strict):
    """One of several events."""

    any: Annotated[list[Once], Field(min_length=1, max_length=LIMITS["any"])] = told(
        "Events, one of which is enough.", ["order.completed", {"clicked": "pricing"}]
    )


# Timers


class NoClickValue(_Strict):
    """How many sends, and how long to wait after the last."""

    sends: Annotated[int, Field(strict=True, ge=1, le=SENDS)] = told("Sends without a click since.", 3)
    grace: Duration = told("How long the last of them has been there.", "48h")
    count: Absent[Literal["delivered", "sent"]] = told("What counts as a send.", "delivered", default=None)


class NoClick(_Strict):
    """Timer: so many sends without a human click."""

    no_click: NoClickValue = told("Sends and grace.", {"sends": 3, "grace": "48h"})


class QuietValue(_Strict):
    """How long, and whether opens count as activity."""

    for_: Duration = told("How long without activity.", "14d", alias="for")
    opens: Absent[StrictBool] = told("Whether human opens count as activity.", True, default=None)


class Quiet(_Strict):
    """Timer: so long without a click, custom activity or re-subscription."""

    quiet: Duration | QuietValue = told("How long.", "14d", {"for": "14d", "opens": True})


class MissedValue(_Strict):
    """What should have followed what."""

    first: Once | AnyOnce = told("The event that starts the timer.", {"clicked": "pricing"})
    then: Once | AnyOnce = told("The event that should follow.", "order.completed")
    within: Duration = told("How soon.", "5d")


class Missed(_Strict):
    """Timer: one event was not followed by another in time."""

    missed: MissedValue = told("first, then, within.", {"first": {"clicked": "pricing"}, "then": "a.b", "within": "5d"})


class Stuck(_Strict):
    """Timer: so long since the last move of the run."""

    stuck: Duration = told("How long.", "30d")


class After(_Strict):
    """Timer: so long since the run began."""

    after: Duration = told("How long.", "180d")


# Compositions


class AnyOf(_Strict):
    """One of these holds."""

    any: Annotated[list[Condition], Field(min_length=1, max_length=LIMITS["any"])] = told(
        "Conditions, one of which is enough.", [{"clicked": "pricing"}, "webinar.registered"]
    )


class AllOf(_Strict):
    """All of these hold."""

    all: Annotated[list[Condition], Field(min_length=1, max_length=LIMITS["any"])] = told(
        "Conditions that must all hold.", [{"clicked": "pricing"}, {"not": {"unsubscribed": "all"}}]
    )


class Not(_Strict):
    """This does not hold."""

    not_: Deniable = told("An event or (un)subscribed condition without within.", {"unsubscribed": "all"}, alias="not")


_FORMS: tuple[type[_Strict], ...] = (
    *(Event, Clicked, Opened, Subscribed, Unsubscribed),
    *(NoClick, Quiet, Missed, Stuck, After),
    *(AnyOf, AllOf, Not),
)
Condition = TypeAliasType("Condition", Union[EventType, *_FORMS])  # type: ignore[valid-type]


# Stages, setbacks, exits: a condition, or when: CONDITION, or the keys of a condition beside their own. Unions are made
# by a function, which a type checker cannot follow.


class _StageKeys(_Strict):
    stalls_after: Absent[Duration] = told("Report a contact that stays longer.", "21d", default=None)


class _SetbackKeys(_Strict):
    from_: Absent[Annotated[list[Text], Field(max_length=ENTRIES)]] = told(
        "Stages that it can strike; without it, all below the goal.", ["engaged"], alias="from", default=None
    )
    until: Absent[Literal["never"] | Condition] = told(
        "What ends it; without it, the journey's recover.", {"clicked": "any"}, "never", default=None
    )


class _ExitKeys(_Strict):
    pass


class _When(_Strict):
    when: Condition = told("The condition.", "webinar.registered", {"clicked": "pricing"})


def _body(kind: str, keys: type[_Strict], words: str) -> Any:
    """Every way to write the condition of one kind of place, with the place's own keys beside."""
    long = create_model(f"{kind}When", __base__=(keys, _When), __doc__=words)
    if keys is _ExitKeys:
        return Union[EventType, long, *_FORMS]
    forms = [create_model(f"{kind}{form.__name__}", __base__=(keys, form), __doc__=form.__doc__) for form in _FORMS]
    return Union[EventType, long, *forms]


StageBody = TypeAliasType("StageBody", _body("Stage", _StageKeys, "What brings a contact here."))  # type: ignore[valid-type]
SetbackBody = TypeAliasType("SetbackBody", _body("Setback", _SetbackKeys, "What throws a contact back."))  # type: ignore[valid-type]
ExitBody = TypeAliasType("ExitBody", _body("Exit", _ExitKeys, "What ends the run."))  # type: ignore[valid-type]

StageEntry = Annotated[dict[Name, StageBody], Field(min_length=1, max_length=1)]  # type: ignore[valid-type]
SetbackEntry = Annotated[dict[Name, SetbackBody], Field(min_length=1, max_length=1)]  # type: ignore[valid-type]
ExitEntry = Annotated[dict[Name, ExitBody], Field(min_length=1, max_length=1)]  # type: ignore[valid-type]


class LinkValue(_Strict):
    """A place that a click can lead to, and what a click there says."""

    url: Text = told("host/path; * within one segment, ** any segments.", "example.com/pricing/**")
    means: Absent[Literal["interest", "intent", "disengagement"]] = told(
        "What a click there says of the contact.", "intent", default=None
    )


class GoalValue(_Strict):
    """The stage that the journey is for."""

    reach: Text = told("Name of the stage.", "customer")
    within: Absent[Duration] = told("How soon after the run began; without it, any time.", "60d", default=None)


class ReenterValue(_Strict):
    """When a contact may begin another run."""

    after: Absent[Duration] = told("How long after the exit.", "90d", default=None)
    never_after: Absent[Annotated[list[Text], Field(max_length=ENTRIES)]] = told(
        "Exits that are for good.", ["complained"], default=None
    )


class ConsentValue(_Strict):
    """Without this consent no engagement is stored or moves anyone."""

    purpose: Text = told("Purpose of the consent.", "tracking")
    default: Absent[Literal["granted", "denied"]] = told("What holds until the contact says.", "denied", default=None)


class BurstValue(_Strict):
    """How many links in how short a time no person clicks."""

    urls: Absent[Annotated[int, Field(strict=True, ge=2, le=16)]] = told("Distinct links.", 3, default=None)
    within: Absent[Duration] = told("In this time.", "10s", default=None)


class BotsValue(_Strict):
    """How clicks of unknown origin are judged."""

    instant: Absent[Duration] = told("So soon after the delivery it is a program.", "2s", default=None)
    burst: Absent[BurstValue] = told("So many links at once are a program.", {"urls": 3, "within": "10s"}, default=None)
    near: Absent[Duration] = told("So soon after the delivery a click is held.", "5m", default=None)
    hold: Absent[Duration] = told("For how long it is held.", "10s", default=None)


class AttributionValue(_Strict):
    """How far back a click earns credit."""

    window: Absent[Duration] = told("How far back.", "7d", default=None)


class TestValue(_Strict):
    """A timeline: what happens to one contact, and every record that must come of it."""

    name: Text = told("What it shows.", "three ignored sends drift")
    events: Annotated[list[EventLine], Field(max_length=LINES)] = told(
        "OFFSET EVENT, in order.",
        ["0d contact.subscribed", "1d clicked https://example.com/pricing", "2d sent nurture-1"],
    )
    expect: Annotated[list[ExpectLine], Field(max_length=LINES)] = told(
        "OFFSET from -> to, or OFFSET stall STAGE: all records, in order.", ["0d none -> subscribed"]
    )


_VERBS = "sent|clicked|opened|complained|bounced|unsubscribed|resubscribed"
EventLine = Annotated[str, Field(pattern=rf"^\s*{_NUMBER}\s+(({_VERBS})(\s|$)|[^\s]*\.)")]
ExpectLine = Annotated[str, Field(pattern=rf"^\s*{_NUMBER}\s+(\S+\s*->\s*\S+|stall\s+\S.*)\s*$")]


class JourneyFile(_Strict):
    """One journey: the way of a contact from first interest to a goal, and what throws it back."""

    model_config = ConfigDict(title="stagepost journey file")

    journey: Name = told("Name of the journey; records carry it.", "webinar-nurture")
    title: Absent[Text] = told("For people.", "Newsletter reader to customer", default=None)
    sends: Absent[Annotated[list[Text], Field(max_length=LIMITS["sends"])]] = told(
        "Campaigns that count as sends of this journey; without it, all. * stands for anything.",
        ["nurture-*", "weekly-*"],
        default=None,
    )
    labels: Absent[Annotated[dict[Name, Text], Field(max_length=LIMITS["labels"])]] = told(
        "Copied to alerts and metrics.", {"team": "crm"}, default=None
    )
    links: Absent[Annotated[dict[LinkName, Text | LinkValue], Field(max_length=LIMITS["links"])]] = told(
        "Names for places that a click can lead to.",
        {"pricing": {"url": "example.com/pricing/**", "means": "intent"}, "webinar": "example.com/webinars/*"},
        default=None,
    )
    stages: Annotated[list[StageEntry], Field(min_length=1, max_length=LIMITS["stages"])] = told(
        "The path, in the order of the funnel; contacts move up and may skip.",
        [{"subscribed": "contact.subscribed"}, {"engaged": {"clicked": "any"}}],
    )
    setbacks: Absent[Annotated[list[SetbackEntry], Field(max_length=LIMITS["setbacks"])]] = told(
        "Places beside the path, mildest first.", [{"dormant": {"quiet": "14d"}}], default=None
    )
    recover: Absent[Condition] = told("What ends setbacks that have no until.", {"clicked": "any"}, default=None)
    exits: Absent[Annotated[list[ExitEntry], Field(max_length=LIMITS["exits"])]] = told(
        "Ends of the run, from anywhere.", [{"complained": "email.complained"}], default=None
    )
    enter: Absent[Literal["any", "first"]] = told(
        "any: at the highest stage that holds; first: at the first only.", "any", default=None
    )
    reenter: Absent[Literal["never", "always"] | ReenterValue] = told(
        "Whether a contact may begin again after an exit; without it, never.",
        {"after": "90d", "never_after": ["complained"]},
        default=None,
    )
    goal: Absent[GoalValue] = told("What the journey is for.", {"reach": "customer", "within": "60d"}, default=None)
    consent: Absent[Text | ConsentValue] = told("The purpose that consent is needed for.", "tracking", default=None)
    bots: Absent[Literal["off"] | BotsValue] = told(
        "How clicks of unknown origin are judged.", {"instant": "2s", "near": "5m"}, "off", default=None
    )
    attribution: Absent[AttributionValue] = told(
        "Which sends are credited with a move.", {"window": "7d"}, default=None
    )
    lateness: Absent[Duration] = told("How old an event may be and still move anyone.", "24h", default=None)
    on_change: Absent[Literal["keep", "reevaluate", "finish"]] = told(
        "What becomes of contacts when this file changes.", "keep", default=None
    )
    tests: Absent[Annotated[list[TestValue], Field(max_length=LIMITS["tests"])]] = told(
        "Timelines that stagepost test runs.",
        [{"name": "enters", "events": ["0d contact.subscribed"], "expect": ["0d none -> subscribed"]}],
        default=None,
    )


for _model in (AnyOf, AllOf, TestValue, JourneyFile):
    _model.model_rebuild()
