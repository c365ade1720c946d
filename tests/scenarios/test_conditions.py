"""journeys.md 2: what each condition means, sentence by sentence, as timelines."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import (
    click,
    clicked,
    event,
    exit_,
    is_,
    journey,
    play,
    sent,
    setback,
    span,
    stage,
    subscribed,
    unsubscribed,
    where,
)

from stagepost.journey import definition as d

LINKS = (
    d.Link("pricing", "example.com/pricing", "intent"),
    d.Link("blog", "example.com/blog/**"),
    d.Link("leave", "example.com/preferences/**", "disengagement"),
)
PRICING, BLOG, LEAVE = (
    "https://example.com/pricing?a=1",
    "https://example.com/blog/x",
    "https://example.com/preferences/x",
)


def two(when: d.Condition, first: d.Condition | None = None, **more: Any) -> d.Journey:
    """Stage ``a`` at ``begin.now``, stage ``b`` when ``when`` holds."""
    return journey([stage("a", first or is_("begin.now")), stage("b", when)], links=LINKS, **more)


def back(when: d.Condition, until: d.Condition | str | None = "never", **more: Any) -> d.Journey:
    """Stage ``a`` at ``begin.now``, setback ``s`` when ``when`` holds."""
    return journey([stage("a", is_("begin.now"))], setbacks=[setback("s", when, until=until)], links=LINKS, **more)


BEGIN = event("0d", "begin.now")
ONE = {"provider": "resend", "account": "one"}
TWO = {"provider": "resend", "account": "two"}
ENTERED = "0d none -> a"

EVENTS = [
    (
        "an event of the type moves, another does not",
        two(is_("order.completed")),
        [BEGIN, event("1d", "order.opened"), event("2d", "order.completed")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "the campaign glob must match the whole text, case-sensitive",
        two(d.EventIs("email.delivered", campaign="spring-*")),
        [BEGIN, sent("1d", "Spring-1"), sent("2d", "a-spring-1"), sent("3d", "spring-1")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "a campaign without star is matched as it is",
        two(d.EventIs("email.delivered", campaign="spring")),
        [BEGIN, sent("1d", "spring-1"), sent("2d", None, "m1"), sent("3d", "spring")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "where and campaign hold together",
        two(d.EventIs("email.bounced", where(("class", "eq", "hard")), campaign="x*")),
        [
            BEGIN,
            event("1d", "email.bounced", bounce_class="soft", campaign="x1"),
            event("2d", "email.bounced", bounce_class="hard", campaign="y1"),
            event("3d", "email.bounced", bounce_class="hard", campaign="x1"),
        ],
        [ENTERED, "3d a -> b"],
    ),
    (
        "a click on a named link",
        two(clicked("pricing")),
        [BEGIN, click("1d", BLOG), click("2d", None), click("3d", PRICING)],
        [ENTERED, "3d a -> b"],
    ),
    (
        "one of several links",
        two(clicked("pricing", "blog")),
        [BEGIN, click("1d", LEAVE), click("2d", BLOG)],
        [ENTERED, "2d a -> b"],
    ),
    (
        "any leaves out links that mean disengagement",
        two(clicked()),
        [BEGIN, click("1d", LEAVE), click("2d", None)],
        [ENTERED, "2d a -> b"],
    ),
    (
        "a link that means disengagement can be named",
        two(clicked("leave")),
        [BEGIN, click("1d", PRICING), click("2d", LEAVE)],
        [ENTERED, "2d a -> b"],
    ),
    (
        "a URL under a disengagement link and another link is left out of any",
        journey(
            [stage("a", is_("begin.now")), stage("b", clicked())],
            links=(d.Link("all", "example.com/**"), d.Link("leave", "example.com/leave", "disengagement")),
        ),
        [BEGIN, click("1d", "https://example.com/leave"), click("2d", "https://example.com/x")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "a click of a campaign",
        two(d.Clicked(None, campaign="x")),
        [BEGIN, click("1d", campaign="y"), click("2d"), click("3d", campaign="x")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "a click of a campaign by glob on a named link",
        two(d.Clicked(("pricing",), campaign="x*")),
        [
            BEGIN,
            click("1d", PRICING, campaign="y"),
            click("2d", BLOG, campaign="x1"),
            click("3d", PRICING, campaign="x1"),
        ],
        [ENTERED, "3d a -> b"],
    ),
    (
        "an open of a campaign",
        two(d.Opened(campaign="x")),
        [BEGIN, event("1d", "email.opened", campaign="y"), event("2d", "email.opened", campaign="x")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "subscribed any: every scope, and contact.subscribed",
        two(subscribed("any")),
        [BEGIN, event("1d", "email.resubscribed", scope="list:a")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "subscribed all: contact.subscribed, scope all, domain and none",
        two(subscribed("all")),
        [BEGIN, event("1d", "email.subscribed", scope="list:a"), event("2d", "email.subscribed", scope="domain")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "subscribed with a plain glob: any listed scope with that id",
        two(subscribed("news*")),
        [
            BEGIN,
            event("1d", "contact.subscribed"),
            event("2d", "email.subscribed", scope="domain:news"),
            event("3d", "email.subscribed", scope="topic:news-1"),
        ],
        [ENTERED, "3d a -> b"],
    ),
    (
        "subscribed with scope and id",
        two(subscribed("list:7")),
        [BEGIN, event("1d", "email.subscribed", scope="topic:7"), event("2d", "email.subscribed", scope="list:7")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "subscribed any: email.subscribed of any scope",
        two(subscribed("any")),
        [BEGIN, event("1d", "email.subscribed", scope="tag:x")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "subscribed any: contact.subscribed",
        two(subscribed("any")),
        [BEGIN, event("1d", "contact.subscribed")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "subscribed all: email.resubscribed without a scope",
        two(subscribed("all")),
        [BEGIN, event("1d", "email.resubscribed")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "subscribed: it occurred in this run, withdrawn since or not",
        two(d.AllOf((subscribed("any"), is_("x.one")))),
        [BEGIN, event("1d", "contact.subscribed"), event("2d", "email.unsubscribed"), event("3d", "x.one")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "an open is a human's: a machine or an uncertain recipient opens nothing",
        two(d.Opened()),
        [
            BEGIN,
            event("1d", "email.opened", machine=True),
            event("2d", "email.opened", recipient_certainty="candidate"),
            event("3d", "email.opened", variant="initial"),
            event("4d", "email.opened"),
        ],
        [ENTERED, "4d a -> b"],
    ),
    (
        "a click's campaign without star is the whole of it",
        two(d.Clicked(None, campaign="x")),
        [BEGIN, click("1d", campaign="xx"), click("2d", campaign="x")],
        [ENTERED, "2d a -> b"],
    ),
]

COUNTS = [
    (
        "times: at least N matching events",
        two(is_("page.seen", times=3)),
        [BEGIN, *(event(f"{n}d", "page.seen") for n in (1, 2, 3, 4))],
        [ENTERED, "3d a -> b"],
    ),
    (
        "times within: counted over (t - D, t], exactly D ago is out",
        two(is_("page.seen", times=2, within="2d")),
        [BEGIN, event("1d", "page.seen"), event("3d", "page.seen"), event("4d23h59m59s", "page.seen")],
        [ENTERED, "4d23h59m59s a -> b"],
    ),
    (
        "per campaign: N different campaigns",
        two(clicked(times=2, per=True)),
        [BEGIN, click("1d", campaign="x"), click("2d", campaign="x"), click("3d", campaign="y")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "per campaign: messages where there is no campaign, and nothing where there is neither",
        two(clicked(times=2, per=True)),
        [BEGIN, click("1d", message="m1"), click("2d"), click("3d", message="m1"), click("4d", message="m2")],
        [ENTERED, "4d a -> b"],
    ),
    (
        "per campaign: the event that begins the run counts only where it names a campaign or message",
        two(is_("begin.now", times=2, per=True)),
        [BEGIN, event("1d", "begin.now", campaign="x"), event("2d", "begin.now", campaign="y")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "per campaign within: the newest click of each campaign counts",
        two(clicked(times=2, within="2d", per=True)),
        [
            BEGIN,
            click("1d", campaign="x"),
            click("3d", campaign="y"),
            click("4d", campaign="y"),
            click("5d", campaign="x"),
        ],
        [ENTERED, "5d a -> b"],
    ),
    (
        "within is judged at the event's own time, also out of order",
        two(d.AllOf((is_("page.seen", within="1h"), is_("order.completed")))),
        [BEGIN, event("1d", "page.seen"), event("1d10h", "page.seen"), event("1d30m", "order.completed")],
        [ENTERED, "1d30m a -> b"],
    ),
    (
        "at entry all counts restart and the entering event is the first counted",
        journey([stage("a", is_("page.seen")), stage("b", is_("page.seen", times=2))]),
        [event("0d", "page.seen"), event("1d", "page.seen")],
        ["0d none -> a", "1d a -> b"],
    ),
    (
        "before the run counts go on since the contact was first seen",
        journey([stage("a", d.AllOf((is_("x.one"), is_("x.two"))))]),
        [event("0d", "x.one"), event("1d", "x.two")],
        ["1d none -> a"],
    ),
    (
        "what arrives after the run began belongs to it, even when its own time is older",
        two(is_("page.seen", times=2)),
        [event("1d", "begin.now"), event("23h", "page.seen"), event("1d1h", "page.seen")],
        ["1d none -> a", "1d1h a -> b"],
    ),
    (
        "after an exit counts restart",
        journey(
            [stage("a", is_("page.seen", times=2))],
            exits=(exit_("gone", is_("x.out")),),
            reenter=d.Reenter(after=0),
        ),
        [
            event(f"{n}d", type_)
            for n, type_ in enumerate(["page.seen", "page.seen", "x.out", "page.seen", "page.seen"])
        ],
        ["1d none -> a", "2d a -> gone", "4d none -> a"],
    ),
    (
        "times within: the event at t itself counts",
        two(is_("page.seen", times=1, within="1s")),
        [BEGIN, event("1d", "page.seen")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "times within does not count what is younger than the event",
        two(d.AllOf((is_("page.seen", times=2, within="2d"), is_("order.completed")))),
        [BEGIN, event("1d", "page.seen"), event("1d12h", "page.seen"), event("1d6h", "order.completed")],
        [ENTERED],
    ),
    (
        "without within it is counted over the run, however long",
        two(is_("page.seen", times=2)),
        [BEGIN, event("1d", "page.seen"), event("50d", "page.seen")],
        [ENTERED, "50d a -> b"],
    ),
    (
        "per campaign within: a campaign clicked too long ago is none",
        two(clicked(times=2, within="2d", per=True)),
        [BEGIN, click("1d", campaign="x"), click("3d", campaign="y"), click("4d", campaign="z")],
        [ENTERED, "4d a -> b"],
    ),
    (
        "a campaign and a message of the same name are two",
        two(clicked(times=2, per=True)),
        [BEGIN, click("1d", campaign="x"), click("2d", message="x")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "two links of one condition take a click once",
        journey(
            [stage("a", is_("begin.now")), stage("b", clicked("one", "all", times=2))],
            links=(d.Link("one", "example.com/1"), d.Link("all", "example.com/**")),
        ),
        [BEGIN, click("1d", "https://example.com/1"), click("2d", "https://example.com/1")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "what occurred before the run is not counted in it",
        two(is_("page.seen", times=2)),
        [event("0d", "page.seen"), event("1d", "begin.now"), event("2d", "page.seen")],
        ["1d none -> a"],
    ),
]

LOGIC = [
    (
        "any and all nest",
        two(d.AllOf((d.AnyOf((is_("x.one"), is_("x.two"))), is_("x.three")))),
        [BEGIN, event("1d", "x.three"), event("2d", "x.two")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "not: the event did not occur in this run, and it moves nobody itself",
        two(d.AllOf((is_("x.one"), d.Not(is_("x.two"))))),
        [BEGIN, event("1d", "x.two"), event("2d", "x.one")],
        [ENTERED],
    ),
    (
        "a leaf under not is no event of its own",
        two(d.AnyOf((d.AllOf((is_("x.one"), d.Not(is_("x.two", times=2)))), d.AllOf((is_("x.three"), is_("x.four")))))),
        [BEGIN, event("1d", "x.two"), event("2d", "x.one")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "not unsubscribed looks at what is in force now",
        two(d.AllOf((is_("x.one"), d.Not(unsubscribed("any"))))),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "x.one"),
            event("3d", "email.resubscribed", scope="list:a"),
            event("4d", "x.one"),
        ],
        [ENTERED, "4d a -> b"],
    ),
    (
        "a fact alone moves nobody later: only an own event does",
        back(d.AllOf((is_("x.one"), is_("x.two"))), sends=()),
        [BEGIN, event("1d", "x.one"), event("2d", "x.three"), event("3d", "x.two")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a withdrawal before the run does not end it",
        two(is_("x.one"), exits=(exit_("out", unsubscribed("all")),)),
        [event("0d", "email.unsubscribed"), event("1d", "begin.now"), event("2d", "x.one")],
        ["1d none -> a", "2d a -> b"],
    ),
    (
        "not looks at this run only",
        journey([stage("a", is_("begin.now")), stage("b", d.AllOf((is_("x.one"), d.Not(is_("x.two")))))]),
        [event("0d", "x.two"), event("1d", "begin.now"), event("2d", "x.one")],
        ["1d none -> a", "2d a -> b"],
    ),
    (
        "a stage that came to hold by a fact of another rule is entered by none but its own events",
        two(d.AllOf((is_("x.one"), d.Not(unsubscribed("any"))))),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "x.one"),
            event("3d", "email.resubscribed", scope="list:a"),
        ],
        [ENTERED],
    ),
    (
        "all: one part alone does not hold",
        two(d.AllOf((is_("x.one"), is_("x.two")))),
        [BEGIN, event("1d", "x.one"), event("2d", "x.one")],
        [ENTERED],
    ),
    (
        "an event under not moves nobody, though the rest holds by then",
        journey(
            [stage("a", is_("begin.now")), stage("b", is_("x.b"))],
            setbacks=[setback("s", d.AllOf((is_("x.one"), d.Not(is_("x.two", times=2)))), ["b"], until="never")],
        ),
        [BEGIN, event("1d", "x.one"), event("2d", "x.b"), event("3d", "x.two")],
        [ENTERED, "2d a -> b"],
    ),
]

REGISTER = [
    (
        "unsubscribed all: scope all, domain or none given",
        back(unsubscribed("all")),
        [BEGIN, event("1d", "email.unsubscribed", scope="list:a"), event("2d", "email.unsubscribed", scope="domain")],
        [ENTERED, "2d a -> s"],
    ),
    (
        "unsubscribed any: in any scope, the global one included",
        back(unsubscribed("any")),
        [BEGIN, event("1d", "email.unsubscribed")],
        [ENTERED, "1d a -> s"],
    ),
    (
        "unsubscribed from a scope and id",
        back(unsubscribed("list:n*")),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="topic:n1"),
            event("2d", "email.unsubscribed"),
            event("3d", "email.unsubscribed", scope="list:n1"),
        ],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a machine's withdrawal acts",
        back(unsubscribed("any")),
        [BEGIN, event("1d", "email.unsubscribed", machine=True)],
        [ENTERED, "1d a -> s"],
    ),
    (
        "the newest word by its own time decides: a withdrawal older than the re-subscription is none",
        back(unsubscribed("any")),
        [
            BEGIN,
            event("2d", "email.resubscribed", scope="list:a"),
            event("1d20h", "email.unsubscribed", scope="list:a"),
        ],
        [ENTERED],
    ),
    (
        "contact.subscribed gives back all and domain, also against a withdrawal yet to arrive",
        back(unsubscribed("any")),
        [BEGIN, event("2d", "contact.subscribed"), event("1d20h", "email.unsubscribed", scope="domain")],
        [ENTERED],
    ),
    (
        "contact.subscribed gives back no list",
        back(unsubscribed("any"), until=None),
        [BEGIN, event("1d", "email.unsubscribed", scope="list:a"), event("2d", "contact.subscribed")],
        [ENTERED, "1d a -> s"],
    ),
    (
        "default until: no matching withdrawal is left",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "email.unsubscribed", scope="list:b"),
            event("3d", "email.resubscribed", scope="list:a"),
            event("4d", "email.subscribed", scope="list:b"),
        ],
        [ENTERED, "1d a -> s", "4d s -> a"],
    ),
    (
        "after_send: the withdrawal came within D of the last delivered send",
        back(unsubscribed("any", after="24h")),
        [
            BEGIN,
            sent("1d", "x"),
            event("2d", "email.unsubscribed", scope="list:a"),
            event("2d1h", "email.resubscribed", scope="list:a"),
            sent("3d", "y"),
            event("3d23h", "email.unsubscribed", scope="list:a"),
        ],
        [ENTERED, "3d23h a -> s"],
    ),
    (
        "after_send without any send never holds",
        back(unsubscribed("any", after="24h")),
        [BEGIN, event("1d", "email.unsubscribed")],
        [ENTERED],
    ),
    (
        "campaign beside after_send names that send, not the event's",
        back(unsubscribed("any", after="24h", campaign="x*")),
        [
            BEGIN,
            sent("1d", "y1"),
            event("1d1h", "email.unsubscribed", scope="list:a", campaign="x1"),
            sent("2d", "x1"),
            event("2d1h", "email.unsubscribed", scope="list:b", campaign="y1"),
        ],
        [ENTERED, "2d1h a -> s"],
    ),
    (
        "the default until of after_send looks at no other withdrawal",
        back(unsubscribed("any", after="24h"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:old"),
            sent("3d", "x"),
            event("3d1h", "email.unsubscribed", scope="list:new"),
            event("4d", "email.resubscribed", scope="list:new"),
        ],
        [ENTERED, "3d1h a -> s", "4d s -> a"],
    ),
    (
        "after_send on an activity, judged on arrival: a delivery that arrives later changes nothing",
        two(d.EventIs("order.completed", after_send=span("24h"))),
        [
            BEGIN,
            event("2d", "order.completed"),
            sent("1d23h", "x"),
            event("4d", "order.completed"),
            sent("5d", "y"),
            event("5d1h", "order.completed"),
        ],
        [ENTERED, "5d1h a -> b"],
    ),
    (
        "unsubscribed all: none given",
        back(unsubscribed("all")),
        [BEGIN, event("1d", "email.unsubscribed")],
        [ENTERED, "1d a -> s"],
    ),
    (
        "unsubscribed all: scope all",
        back(unsubscribed("all")),
        [BEGIN, event("1d", "email.unsubscribed", scope="all")],
        [ENTERED, "1d a -> s"],
    ),
    (
        "a plain glob means any scope with that id",
        back(unsubscribed("news*")),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="topic:old"),
            event("2d", "email.unsubscribed", scope="domain:news"),
            event("3d", "email.unsubscribed", scope="stream:news-1"),
        ],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a withdrawal holds now: not once it was given back",
        two(d.AllOf((unsubscribed("any"), is_("x.one")))),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "email.resubscribed", scope="list:a"),
            event("3d", "x.one"),
        ],
        [ENTERED],
    ),
    (
        "a withdrawal made before the run is in force in it",
        two(d.AllOf((unsubscribed("any"), is_("x.one")))),
        [event("0d", "email.unsubscribed", scope="list:a"), event("1d", "begin.now"), event("2d", "x.one")],
        ["1d none -> a", "2d a -> b"],
    ),
    (
        "email.resubscribed gives back exactly its scope and id",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "email.resubscribed", scope="list:b"),
            event("3d", "email.resubscribed", scope="topic:a"),
            event("4d", "email.resubscribed"),
            event("5d", "email.subscribed", scope="list:a"),
        ],
        [ENTERED, "1d a -> s", "5d s -> a"],
    ),
    (
        "what an api gives back undoes only what the same account reported",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a", **ONE),
            event("2d", "email.resubscribed", scope="list:a", method="api", **TWO),
            event("3d", "email.unsubscribed", scope="list:a", **TWO),
            event("4d", "email.resubscribed", scope="list:a", method="api", **TWO),
            event("5d", "email.resubscribed", scope="list:a", method="api", **ONE),
        ],
        [ENTERED, "1d a -> s", "5d s -> a"],
    ),
    (
        "an account of the same name at another provider is another account",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a", **ONE),
            event("2d", "email.resubscribed", scope="list:a", method="api", provider="postmark", account="one"),
        ],
        [ENTERED, "1d a -> s"],
    ),
    (
        "what the person gives back undoes what any account reported",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a", **ONE),
            event("1d1h", "email.unsubscribed", scope="list:a", **TWO),
            event("2d", "email.resubscribed", scope="list:a", method="link", **TWO),
        ],
        [ENTERED, "1d a -> s", "2d s -> a"],
    ),
    (
        "what an account reported late, from before the person gave it back, is overtaken",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a", **ONE),
            event("3d", "email.resubscribed", scope="list:a", method="link", **ONE),
            event("2d", "email.unsubscribed", scope="list:a", **TWO),
        ],
        [ENTERED, "1d a -> s", "3d s -> a"],
    ),
    (
        "giving back a list leaves all withdrawn",
        back(unsubscribed("any"), until=None),
        [BEGIN, event("1d", "email.unsubscribed"), event("2d", "email.resubscribed", scope="list:a")],
        [ENTERED, "1d a -> s"],
    ),
    (
        "contact.subscribed gives back all and domain",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed"),
            event("2d", "email.unsubscribed", scope="domain"),
            event("3d", "contact.subscribed"),
        ],
        [ENTERED, "1d a -> s", "3d s -> a"],
    ),
    (
        "of equal times the word that arrived last decides",
        back(unsubscribed("any")),
        [
            BEGIN,
            event("1d", "email.resubscribed", scope="list:a"),
            event("1d", "email.unsubscribed", scope="list:a"),
        ],
        [ENTERED, "1d a -> s"],
    ),
    (
        "the default until is for the scopes of its condition",
        back(unsubscribed("list:a"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:b"),
            event("2d", "email.unsubscribed", scope="list:a"),
            event("3d", "email.resubscribed", scope="list:a"),
        ],
        [ENTERED, "2d a -> s", "3d s -> a"],
    ),
    (
        "the default until acts only by a word on the scopes of its condition",
        back(unsubscribed("list:a", after="24h"), until=None),
        [
            BEGIN,
            sent("1d", "x"),
            event("1d1h", "email.unsubscribed", scope="list:a"),
            event("9d", "email.unsubscribed", scope="list:a"),
            event("10d", "contact.subscribed"),
            event("11d", "email.resubscribed", scope="list:b"),
            event("12d", "email.resubscribed", scope="list:a"),
        ],
        [ENTERED, "1d1h a -> s", "12d s -> a"],
    ),
    (
        "a re-subscription by a machine acts",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "email.resubscribed", scope="list:a", machine=True),
        ],
        [ENTERED, "1d a -> s", "2d s -> a"],
    ),
    (
        "after_send means less than D",
        two(d.EventIs("order.completed", after_send=span("24h"))),
        [BEGIN, sent("1d", "x"), event("2d", "order.completed"), event("1d23h59m59s", "order.completed")],
        [ENTERED, "1d23h59m59s a -> b"],
    ),
    (
        "after_send measures from the last send delivered, not from one that was only sent",
        two(d.EventIs("order.completed", after_send=span("24h"))),
        [
            BEGIN,
            sent("1d", "x"),
            event("3d", "email.sent", campaign="y", message="y"),
            event("3d1h", "order.completed"),
        ],
        [ENTERED],
    ),
    (
        "after_send on a withdrawal is judged once: a send that comes after it changes nothing",
        two(d.AllOf((unsubscribed("any", after="24h"), is_("x.one")))),
        [
            BEGIN,
            sent("1d", "x"),
            event("1d1h", "email.unsubscribed", scope="list:a"),
            sent("9d", "y"),
            event("10d", "x.one"),
        ],
        [ENTERED, "10d a -> b"],
    ),
    (
        "campaign beside after_send names the send of an activity too",
        two(d.EventIs("order.completed", after_send=span("24h"), campaign="x*")),
        [
            BEGIN,
            sent("1d", "y1"),
            event("1d1h", "order.completed"),
            sent("2d", "x1"),
            event("2d1h", "order.completed"),
        ],
        [ENTERED, "2d1h a -> b"],
    ),
    (
        "an older re-subscription that comes later does not hide the newer one",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("3d", "email.resubscribed", scope="list:a"),
            event("2d6h", "email.resubscribed", scope="list:a"),
            event("2d12h", "email.unsubscribed", scope="list:a"),
        ],
        [ENTERED],
    ),
    (
        "a re-subscription older than the withdrawal gives nothing back",
        back(unsubscribed("any"), until=None),
        [
            BEGIN,
            event("2d", "email.unsubscribed", scope="list:a"),
            event("1d20h", "email.resubscribed", scope="list:a"),
        ],
        [ENTERED, "2d a -> s"],
    ),
    (
        "after_send on a withdrawal means less than D, at a later event too",
        two(d.AllOf((unsubscribed("any", after="24h"), is_("x.one")))),
        [BEGIN, sent("1d", "x"), event("2d", "email.unsubscribed", scope="list:a"), event("3d", "x.one")],
        [ENTERED],
    ),
    (
        "campaign beside after_send names the send of the withdrawal, at a later event too",
        two(d.AllOf((unsubscribed("any", after="24h", campaign="x*"), is_("x.one")))),
        [BEGIN, sent("1d", "y1"), event("1d1h", "email.unsubscribed", scope="list:a"), event("3d", "x.one")],
        [ENTERED],
    ),
    (
        "after_send: a send delivered after the event's own time is not its last",
        two(d.EventIs("order.completed", after_send=span("24h"))),
        [BEGIN, sent("1d", "x"), sent("9d", "y"), event("8d12h", "order.completed")],
        [ENTERED],
    ),
]


def no_click(n: int = 2, grace: str = "1d", **more: Any) -> d.NoClick:
    return d.NoClick(n, span(grace), **more)


NO_CLICK = [
    (
        "N sends, each at least D ago, without a human click since",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "once per campaign",
        back(no_click()),
        [BEGIN, sent("1d", "x", "m1"), sent("2d", "x", "m2"), sent("4d", "y")],
        [ENTERED, "5d a -> s"],
    ),
    (
        "once per message without a campaign, in a journey without sends",
        back(no_click()),
        [BEGIN, sent("1d", None, "m1"), sent("2d", None, "m1"), sent("4d", None, "m2")],
        [ENTERED, "5d a -> s"],
    ),
    (
        "only campaigns that match sends",
        back(no_click(), sends=("n-*",)),
        [BEGIN, sent("1d", "n-1"), sent("2d", "o-1"), sent("3d", None, "m"), sent("4d", "n-2")],
        [ENTERED, "5d a -> s"],
    ),
    (
        "count sent looks at email.sent",
        back(no_click(count="sent")),
        [
            BEGIN,
            event("1d", "email.sent", campaign="x", message="1"),
            event("2d", "email.sent", campaign="y", message="2"),
        ],
        [ENTERED, "3d a -> s"],
    ),
    (
        "the send that begins the run counts",
        journey([stage("a", is_("email.delivered"))], setbacks=[setback("s", no_click(), until="never")]),
        [sent("1d", "x"), sent("2d", "y")],
        ["1d none -> a", "3d a -> s"],
    ),
    (
        "a click before or exactly at the due time cancels it",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), click("3d")],
        [ENTERED],
    ),
    (
        "any human click restarts the count",
        back(no_click()),
        [BEGIN, sent("1d", "x"), click("1d1h"), sent("2d", "y"), sent("3d", "z")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "a click on a disengagement link does not restart it",
        back(no_click()),
        [BEGIN, sent("1d", "x"), click("1d1h", LEAVE), sent("2d", "y")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a campaign that is delivered again after a click counts again, also when the click was reported later",
        back(no_click(1)),
        [BEGIN, sent("1d", "x", "m1"), sent("1d2h", "x", "m2"), click("1d1h")],
        [ENTERED, "2d2h a -> s"],
    ),
    (
        "many deliveries of one campaign are one send, and the next campaign is the second",
        back(no_click()),
        [BEGIN, [e for n in range(30) for e in sent(f"1d{n}m", "x", f"m{n}")], sent("3d", "y")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "sends and clicks compare by their own times",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), click("1d12h"), sent("3d", "z")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "a send that is older than the last click counts no more, whatever arrives first",
        back(no_click()),
        [BEGIN, click("1d"), sent("23h", "x"), sent("2d", "y"), sent("3d", "z")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "equal times by arrival: a click after the send cancels it, before it does not",
        back(no_click()),
        [BEGIN, sent("1d", "x"), click("1d"), click("2d"), sent("2d", "y"), sent("3d", "z")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "equal times by arrival: a click that is reported after a younger send leaves nothing of the one at its time",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), click("1d"), sent("2d12h", "z")],
        [ENTERED, "3d12h a -> s"],
    ),
    (
        "fires once per count",
        back(no_click(), until=is_("x.better"), recover=None),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), sent("4d", "z"), event("5d", "x.other")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a recovery restarts the count too",
        back(no_click(), until=is_("x.better")),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), event("4d", "x.better"), sent("5d", "u"), sent("6d", "v")],
        [ENTERED, "3d a -> s", "4d s -> a", "7d a -> s"],
    ),
    (
        "a click after it fired begins a new count",
        back(no_click(), until=is_("x.better")),
        [
            BEGIN,
            sent("1d", "x"),
            sent("2d", "y"),
            click("4d"),
            sent("5d", "u"),
            sent("6d", "v"),
            event("10d", "x.better"),
        ],
        [ENTERED, "3d a -> s", "10d s -> a"],
    ),
    (
        "it holds from its firing on until a click",
        back(d.AllOf((no_click(), is_("x.one", times=2)))),
        [
            BEGIN,
            event("1h", "x.one"),
            sent("1d", "x"),
            sent("2d", "y"),
            event("4d", "x.one"),
        ],
        [ENTERED, "4d a -> s"],
    ),
    (
        "after a click it holds no more",
        back(d.AllOf((no_click(), is_("x.one", times=2)))),
        [BEGIN, event("1h", "x.one"), sent("1d", "x"), sent("2d", "y"), click("3d1h"), event("4d", "x.one")],
        [ENTERED],
    ),
    (
        "sends before the run do not count",
        back(no_click()),
        [sent("0d", "w"), sent("1d", "x"), event("2d", "begin.now"), sent("3d", "y"), sent("4d", "z")],
        ["2d none -> a", "5d a -> s"],
    ),
    (
        "a send that arrives in the run counts, though it is older than the run",
        back(no_click()),
        [event("1d", "begin.now"), sent("23h", "x"), sent("2d", "y")],
        ["1d none -> a", "3d a -> s"],
    ),
    (
        "the N-th send by its own time sets the due time, whatever arrives first",
        back(no_click()),
        [BEGIN, sent("2d", "z"), sent("1d12h", "y"), sent("1d", "x")],
        [ENTERED, "2d12h a -> s"],
    ),
    (
        "more sends than N do not put it off",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), sent("2d12h", "z")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a machine's click restarts no count, nor does a variant or an uncertain one",
        back(no_click()),
        [
            BEGIN,
            sent("1d", "x"),
            click("1d1h", machine=True),
            click("1d2h", variant="unique"),
            click("1d3h", recipient_certainty="candidate"),
            sent("2d", "y"),
        ],
        [ENTERED, "3d a -> s"],
    ),
    (
        "an open restarts no count",
        back(no_click()),
        [BEGIN, sent("1d", "x"), event("1d1h", "email.opened", campaign="x"), sent("2d", "y")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a click one second after the due time comes too late",
        back(no_click()),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), click("3d1s")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a send at the time of a recovery that arrives after it counts",
        back(no_click(), until=is_("x.better")),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), event("4d", "x.better"), sent("4d", "u"), sent("5d", "v")],
        [ENTERED, "3d a -> s", "4d s -> a", "6d a -> s"],
    ),
    (
        "the time of a recovery is its record's at",
        back(no_click(), until=is_("x.better")),
        [
            BEGIN,
            sent("1d", "x"),
            sent("2d", "y"),
            event("3d6h", "x.other"),
            event("2d12h", "x.better"),
            sent("2d18h", "u"),
            sent("5d", "v"),
        ],
        [ENTERED, "3d a -> s", "3d s -> a"],
    ),
    (
        "fires once per count: out of the setback by an advance it stays fired",
        two(is_("x.b"), setbacks=[setback("s", no_click(), until=is_("x.better"))]),
        [BEGIN, sent("1d", "x"), sent("2d", "y"), event("4d", "x.b"), sent("5d", "z")],
        [ENTERED, "3d a -> s", "4d s -> b"],
    ),
    (
        "equal times by arrival: a click after the send leaves nothing of it",
        back(no_click()),
        [BEGIN, sent("1d", "x"), click("1d"), sent("2d", "y")],
        [ENTERED],
    ),
    (
        "it holds at no event older than its firing",
        back(d.AllOf((no_click(), is_("x.one", times=2)))),
        [
            BEGIN,
            event("1h", "x.one"),
            sent("1d", "x"),
            sent("2d", "y"),
            event("3d12h", "x.other"),
            event("2d18h", "x.one"),
        ],
        [ENTERED],
    ),
]


def two_ways() -> d.Journey:
    """``then`` is a click on one link, soon after a send or at any time."""
    then = d.AnyOf((clicked("pricing", after_send=span("10s")), clicked("pricing")))
    return back(d.Missed(is_("x.first"), then, span("2d")))


LAPSED = journey(
    [stage("a", d.AnyOf((is_("begin.now"), d.Quiet(span("5d")), is_("x.never")))), stage("b", d.Opened())],
    exits=(exit_("e", is_("x.bad")),),
    reenter=d.Reenter(0),
    enter="first",
)

QUIET = [
    (
        "after an exit it waits for activity",
        LAPSED,
        [BEGIN, event("1d", "x.bad"), event("2d", "email.opened")],
        [ENTERED, "1d a -> e"],
    ),
    (
        "after an exit it counts from the activity that comes",
        LAPSED,
        [BEGIN, event("1d", "x.bad"), event("2d", "page.seen")],
        [ENTERED, "1d a -> e", "7d none -> a"],
    ),
    (
        "fires at D after the last move into a stage",
        back(d.Quiet(span("5d"))),
        [BEGIN],
        [ENTERED, "5d a -> s"],
    ),
    (
        "a human click, a custom activity and a re-subscription restart it",
        back(d.Quiet(span("5d"))),
        [
            BEGIN,
            click("4d"),
            event("8d", "page.seen"),
            event("12d", "email.resubscribed"),
            event("16d", "email.subscribed"),
            event("20d", "contact.subscribed"),
        ],
        [ENTERED, "25d a -> s"],
    ),
    (
        "a disengagement click, an open, a delivery and a machine do not",
        back(d.Quiet(span("5d"))),
        [
            BEGIN,
            click("1d", LEAVE),
            event("2d", "email.opened"),
            sent("3d", "x"),
            click("4d", machine=True),
            click("4d", variant="unique"),
            click("4d", recipient_certainty="candidate"),
        ],
        [ENTERED, "5d a -> s"],
    ),
    (
        "opens: true lets human opens count",
        back(d.Quiet(span("5d"), opens=True)),
        [BEGIN, event("2d", "email.opened"), event("3d", "email.opened", machine=True)],
        [ENTERED, "7d a -> s"],
    ),
    (
        "opens: true: an open older than what is known restarts nothing",
        back(d.Quiet(span("5d"), opens=True)),
        [BEGIN, event("3d", "email.opened"), event("2d12h", "email.opened")],
        [ENTERED, "8d a -> s"],
    ),
    (
        "an activity that a condition names but does not match restarts it too",
        two(is_("page.seen", ("plan", "eq", "pro")), setbacks=[setback("s", d.Quiet(span("5d")), until="never")]),
        [BEGIN, event("3d", "page.seen", data={"plan": "free"})],
        [ENTERED, "8d a -> s"],
    ),
    (
        "a setback does not restart it",
        journey(
            [stage("a", is_("begin.now"))],
            setbacks=[
                setback("bad", d.Stuck(span("3d")), until="never"),
                setback("worse", d.Quiet(span("5d")), until="never"),
            ],
        ),
        [BEGIN],
        [ENTERED, "3d a -> bad", "5d bad -> worse"],
    ),
    (
        "a move into a stage by something that is no activity restarts it",
        two(is_("email.delivered"), setbacks=[setback("s", d.Quiet(span("5d")), until="never")]),
        [BEGIN, sent("3d", "x")],
        [ENTERED, "3d a -> b", "8d b -> s"],
    ),
    (
        "activity that arrived before the run but is younger than its start counts",
        back(d.Quiet(span("5d"))),
        [event("12h", "page.seen"), BEGIN],
        [ENTERED, "5d12h a -> s"],
    ),
    (
        "counted from activity later than the last move",
        back(d.Quiet(span("5d"))),
        [BEGIN, event("3d", "page.seen")],
        [ENTERED, "8d a -> s"],
    ),
    (
        "activity older than what is known restarts nothing",
        back(d.Quiet(span("5d"))),
        [BEGIN, event("3d", "page.seen"), event("2d12h", "page.seen")],
        [ENTERED, "8d a -> s"],
    ),
    (
        "exactly at D an activity comes in time",
        back(d.Quiet(span("5d"))),
        [BEGIN, event("5d", "page.seen")],
        [ENTERED, "10d a -> s"],
    ),
    (
        "it holds from its firing until activity",
        back(d.AllOf((d.Quiet(span("5d")), is_("email.bounced", times=2)))),
        [BEGIN, event("1d", "email.bounced"), event("6d", "email.bounced")],
        [ENTERED, "6d a -> s"],
    ),
    (
        "after activity it holds no more",
        back(d.AllOf((d.Quiet(span("5d")), is_("email.bounced", times=2)))),
        [BEGIN, event("1d", "email.bounced"), event("6d", "page.seen"), event("7d", "email.bounced")],
        [ENTERED, "11d a -> s"],
    ),
    (
        "a reply and a withdrawal are no activity",
        back(d.Quiet(span("5d"))),
        [BEGIN, event("1d", "email.replied"), event("2d", "email.unsubscribed"), event("3d", "email.complained")],
        [ENTERED, "5d a -> s"],
    ),
    (
        "opens: true is for its own condition only",
        journey(
            [stage("a", is_("begin.now"))],
            setbacks=[
                setback("s", d.Quiet(span("5d")), until="never"),
                setback("t", d.Quiet(span("5d"), opens=True), until="never"),
            ],
        ),
        [BEGIN, event("2d", "email.opened")],
        [ENTERED, "5d a -> s", "7d s -> t"],
    ),
]


def missed(first: d.Condition, then: d.Condition, within: str) -> d.Missed:
    return d.Missed(first, then, span(within))


FIRST_THEN = missed(is_("x.first"), is_("x.then"), "2d")

MISSED = [
    (
        "a click that fails one of two ways to be then may still be the other",
        two_ways(),
        [BEGIN, event("1d", "x.first"), click("2d", "https://example.com/pricing")],
        [ENTERED],
    ),
    (
        "a first beyond lateness finds the then that arrived before it",
        back(FIRST_THEN),
        [BEGIN, event("2d", "x.then"), event("7d", "x.then"), event("1d", "x.first")],
        [ENTERED],
    ),
    (
        "fires at arming + D",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("2d", "x.first")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a then within D disarms, ends included",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("3d", "x.then")],
        [ENTERED],
    ),
    (
        "a then that arrived first but happened later disarms",
        back(FIRST_THEN),
        [BEGIN, event("1d12h", "x.then"), event("1d", "x.first")],
        [ENTERED],
    ),
    (
        "a then before the arming does not",
        back(FIRST_THEN),
        [BEGIN, event("12h", "x.then"), event("1d", "x.first")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "after firing it is unarmed, and can be armed again",
        back(FIRST_THEN, until=is_("x.better")),
        [BEGIN, event("1d", "x.first"), event("4d", "x.better"), event("5d", "x.first")],
        [ENTERED, "3d a -> s", "4d s -> a", "7d a -> s"],
    ),
    (
        "an event matching both disarms, then arms",
        back(missed(is_("x.any"), is_("x.any"), "2d")),
        [BEGIN, event("1d", "x.any"), event("2d", "x.any")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "first and then may be any of several",
        back(missed(d.AnyOf((is_("x.one"), clicked("pricing"))), d.AnyOf((is_("x.then"), subscribed("all"))), "2d")),
        [BEGIN, click("1d", PRICING), event("2d", "contact.subscribed"), event("5d", "x.one")],
        [ENTERED, "7d a -> s"],
    ),
    (
        "a first of clicks of one link is not armed by another",
        back(missed(clicked("pricing"), is_("order.completed"), "5d")),
        [BEGIN, click("1d", BLOG), click("2d", PRICING)],
        [ENTERED, "7d a -> s"],
    ),
    (
        "a first beyond lateness still arms",
        back(FIRST_THEN, lateness=span("1h")),
        [BEGIN, event("5d", "x.other"), event("4d", "x.first")],
        [ENTERED, "6d a -> s"],
    ),
    (
        "a then one second after the due time does not disarm",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("3d1s", "x.then")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "a then at the arming itself disarms, if it came before",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.then"), event("1d", "x.first")],
        [ENTERED],
    ),
    (
        "a then at the arming itself disarms, if it came after",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("1d", "x.then")],
        [ENTERED],
    ),
    (
        "while it is armed another first arms nothing",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("2d", "x.first"), event("2d12h", "x.then")],
        [ENTERED],
    ),
    (
        "disarmed it can be armed again",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("2d", "x.then"), event("3d", "x.first")],
        [ENTERED, "5d a -> s"],
    ),
    (
        "a withdrawal can be the first, and a re-subscription the then",
        back(missed(unsubscribed("list:a"), subscribed("list:a"), "2d")),
        [
            BEGIN,
            event("1d", "email.unsubscribed", scope="list:a"),
            event("2d", "email.resubscribed", scope="list:a"),
            event("3d", "email.unsubscribed", scope="list:b"),
            event("9d", "email.unsubscribed", scope="list:a"),
        ],
        [ENTERED, "11d a -> s"],
    ),
    (
        "it holds from its firing until a then",
        back(d.AllOf((FIRST_THEN, is_("x.one", times=2)))),
        [BEGIN, event("1d", "x.first"), event("2d", "x.one"), event("4d", "x.one")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "after a then it holds no more",
        back(d.AllOf((FIRST_THEN, is_("x.one", times=2)))),
        [BEGIN, event("1d", "x.first"), event("2d", "x.one"), event("3d12h", "x.then"), event("4d", "x.one")],
        [ENTERED],
    ),
    (
        "a then beyond lateness still disarms",
        back(FIRST_THEN, lateness=span("1h")),
        [BEGIN, event("1d", "x.first"), event("2d12h", "x.other"), event("2d", "x.then")],
        [ENTERED],
    ),
    (
        "an arming that is due in the past fires before anything else of the contact",
        back(FIRST_THEN, lateness=span("1h")),
        [BEGIN, event("5d", "x.other"), event("2d", "x.first"), event("3d", "x.then")],
        [ENTERED, "4d a -> s"],
    ),
    (
        "a then that happened before the arming does not disarm, though it arrived after it",
        back(FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("12h", "x.then")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "it holds at no event older than its firing",
        back(d.AllOf((FIRST_THEN, is_("x.one", times=2)))),
        [BEGIN, event("1d", "x.first"), event("2d", "x.one"), event("3d12h", "x.other"), event("2d18h", "x.one")],
        [ENTERED],
    ),
]

CLOCKS = [
    (
        "stuck: D since the last move of the run, setbacks included",
        journey(
            [stage("a", is_("begin.now"))],
            setbacks=[
                setback("s", d.After(span("1d")), until="never"),
                setback("t", d.Stuck(span("3d")), until="never"),
            ],
        ),
        [BEGIN],
        [ENTERED, "1d a -> s", "4d s -> t"],
    ),
    (
        "stuck counts anew from a move that has the same time as the one before",
        journey(
            [stage("a", is_("begin.now"))],
            setbacks=[setback("s", d.Stuck(span("12h"))), setback("t", is_("x.bad"))],
            recover=is_("x.up"),
        ),
        [BEGIN, event("30h", "x.bad"), event("43h", "x.other"), event("29h", "x.up")],
        [ENTERED, "12h a -> s", "1d6h s -> t", "1d6h t -> a", "1d18h a -> s"],
    ),
    (
        "after: D since the run began",
        two(is_("x.one"), exits=(exit_("expired", d.After(span("10d"))),)),
        [BEGIN, event("5d", "x.one")],
        [ENTERED, "5d a -> b", "10d b -> expired"],
    ),
    (
        "a timer that fired stays true for a later own event",
        two(d.AllOf((d.After(span("2d")), is_("x.one", times=2)))),
        [BEGIN, event("1d", "x.one"), event("3d", "x.one")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "timer conditions are judged at the event's own time",
        two(d.AllOf((d.After(span("2d")), is_("x.one")))),
        [BEGIN, event("2d1h", "x.other"), event("1d23h", "x.one")],
        [ENTERED],
    ),
    (
        "a timer condition may begin a run",
        journey([stage("lapsed", d.Quiet(span("30d")))]),
        [event("1d", "page.seen")],
        ["31d none -> lapsed"],
    ),
    (
        "until with a timer counts from the setback on",
        back(is_("x.bad"), until=d.After(span("2d"))),
        [BEGIN, event("5d", "x.bad")],
        [ENTERED, "5d a -> s", "7d s -> a"],
    ),
    (
        "stuck holds until the next move",
        journey(
            [stage("a", is_("begin.now")), stage("b", is_("x.b"))],
            setbacks=[setback("s", d.AllOf((d.Stuck(span("3d")), is_("x.one"))), until="never")],
        ),
        [BEGIN, event("4d", "x.b"), event("5d", "x.one")],
        [ENTERED, "4d a -> b", "7d b -> s"],
    ),
    (
        "a stage by a move restarts stuck, not after",
        two(
            is_("x.one"),
            setbacks=[setback("s", d.Stuck(span("3d")), until="never")],
            exits=(exit_("expired", d.After(span("4d"))),),
        ),
        [BEGIN, event("2d", "x.one")],
        [ENTERED, "2d a -> b", "4d b -> expired"],
    ),
    (
        "recover with quiet counts from the setback on, and activity restarts it",
        back(is_("x.bad"), until=None, recover=d.Quiet(span("2d"))),
        [BEGIN, event("5d", "x.bad"), event("6d", "page.seen")],
        [ENTERED, "5d a -> s", "8d s -> a"],
    ),
    (
        "until with no_click counts sends from the setback on",
        back(is_("x.bad"), until=no_click()),
        [BEGIN, sent("1d", "w"), sent("2d", "x"), event("5d", "x.bad"), sent("6d", "y"), sent("7d", "z")],
        [ENTERED, "5d a -> s", "8d s -> a"],
    ),
    (
        "until with missed is armed from the setback on",
        back(is_("x.bad"), until=FIRST_THEN),
        [BEGIN, event("1d", "x.first"), event("2d", "x.bad"), event("4d", "x.first")],
        [ENTERED, "2d a -> s", "6d s -> a"],
    ),
    (
        "until with stuck counts from the setback on",
        back(is_("x.bad"), until=d.Stuck(span("2d"))),
        [BEGIN, event("5d", "x.bad")],
        [ENTERED, "5d a -> s", "7d s -> a"],
    ),
    (
        "until with quiet counts from the setback on, be it by something that is no activity",
        back(is_("email.bounced"), until=d.Quiet(span("2d"))),
        [BEGIN, event("5d", "email.bounced")],
        [ENTERED, "5d a -> s", "7d s -> a"],
    ),
    (
        "until with no_click counts no send that is older than the setback",
        back(is_("x.bad"), until=no_click()),
        [BEGIN, event("5d", "x.bad"), sent("4d18h", "x"), sent("6d", "y"), sent("8d", "z")],
        [ENTERED, "5d a -> s", "9d s -> a"],
    ),
]

ALL = [*EVENTS, *COUNTS, *LOGIC, *REGISTER, *NO_CLICK, *QUIET, *MISSED, *CLOCKS]


def test_an_activity_that_a_condition_of_another_journey_names_restarts_quiet() -> None:
    quiet = back(d.Quiet(span("5d")))
    other = journey([stage("seen", is_("page.seen"))], name="k")

    moves = play([quiet, other], [BEGIN, event("3d", "page.seen")], until="30d")

    assert ["j: 0d none -> a", "k: 3d none -> seen", "j: 8d a -> s"] == moves


@pytest.mark.parametrize(("journey_", "events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in ALL])
def test_condition(journey_: d.Journey, events: list[Any], expected: list[str]) -> None:
    assert expected == play(journey_, events, until="60d")
