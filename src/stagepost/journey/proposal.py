"""A first journey out of a sample of events: what was clicked, sent and done becomes links, campaigns and stages.

Law: the text proposed always validates without warnings and its tests pass, whatever the sample holds. Nothing of a
sample gets into it that could be about a person: of URLs host and first segment, of events their types and campaigns.
Bounded: distinct things beyond the limits below are not counted. May not contain: reading of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stagepost.events import Event
from stagepost.journey.compile import is_custom
from stagepost.journey.links import split_url
from stagepost.journey.parse import parse_journey
from stagepost.journey.timeline import run_timelines

KINDS = 5_000
"""Distinct places, campaigns or types that are counted, each; a sample with more is no list but ids in disguise."""

LINKS, CAMPAIGNS, ACTIVITIES = 6, 8, 3
"""How many of each are proposed: what fits one screen."""

NAME = "proposed-journey"

_K = TypeVar("_K")

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?")
_SEGMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_CAMPAIGN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}(\.[A-Za-z][A-Za-z0-9_-]{0,39}){1,3}")
_COUNTER = re.compile(r"[0-9][0-9._-]*$")

_INTENT = (
    "pricing price prices plans demo trial signup sign-up register checkout cart buy order booking contact".split()
)
_LEAVING = "unsubscribe preferences opt-out optout leave manage-subscriptions".split()


@dataclass(slots=True)
class Sample:
    """What was seen so far. ``places``: clicks by (host, first segment or empty, whether more follow)."""

    events: int = 0
    places: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    campaigns: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    leaves_lists: bool = False
    """Somebody left one list and not all mail."""

    def add(self, event: Event) -> None:
        """Count one event. Test events are none."""
        if event.test:
            return
        self.events += 1
        _count(self.types, event.type if _TYPE.fullmatch(event.type) else "")
        if event.campaign is not None and _CAMPAIGN.fullmatch(event.campaign) and event.type == "email.delivered":
            _count(self.campaigns, event.campaign)
        if event.type == "email.clicked" and event.url:
            host, segments, _ = split_url(event.url)
            if _HOST.fullmatch(host):
                first = segments[0] if segments and _SEGMENT.fullmatch(segments[0]) else ""
                if first or not segments:
                    _count(self.places, (host, first, len(segments) > 1))
        if event.type == "email.unsubscribed" and event.scope in ("list", "group", "stream", "topic", "tag"):
            self.leaves_lists = True


def _count(counts: dict[_K, int], key: _K) -> None:
    if key in counts or len(counts) < KINDS:
        counts[key] = counts.get(key, 0) + 1


@dataclass(frozen=True, slots=True)
class _Link:
    name: str
    pattern: str
    means: str
    url: str
    """A click that it matches, for the tests."""
    clicks: int


def propose(sample: Sample) -> str:
    """The text of a journey file, commented, from what ``sample`` has seen; an empty sample gives a plain one."""
    text = _file(sample, [])
    parsed = parse_journey(text, NAME)
    if parsed.journey is None:
        raise AssertionError(f"the proposal does not validate: {parsed.problems}")
    return _file(sample, [result.actual for result in run_timelines(parsed.journey)])


def _file(sample: Sample, expected: Sequence[Sequence[str]]) -> str:
    """The file; ``expected``: the records of each test, which the engine has said of the same text before."""
    links = _links(sample.places)
    globs, left = _globs(sample.campaigns)
    activities = _activities(sample.types)
    entry, entered = _entry(sample)
    lines = [
        f"# Proposed from {sample.events:,} events, to be changed: names and order are guesses from what they hold.",
        f"journey: {NAME}",
        "title: Proposed from recorded events",
    ]
    if globs:
        more = f"; {left} rarer ones are left out" if left else ""
        lines += ["", f"# Campaigns that count as sends of this journey{more}."]
        lines.append(f"sends: {json.dumps(globs)}")
    if links:
        lines += [
            "",
            "# Where clicks led most. means: interest, intent or disengagement says what a click there tells.",
        ]
        lines.append("links:")
        for link in links:
            means = f", means: {link.means}" if link.means else ""
            clicks = "1 click" if link.clicks == 1 else f"{link.clicks:,} clicks"
            lines.append(f"  {link.name}: {{url: {_quoted(link.pattern)}{means}}}   # {clicks}")
    lines += ["", "# The path, lowest first."]
    lines += ["stages:", f"  - {entry}: {entered}", "  - engaged: {clicked: any}"]
    intents = [link for link in links if link.means == "intent"]
    if intents:
        lines.append(f"  - interested: {{clicked: [{', '.join(link.name for link in intents)}]}}")
    if activities:
        lines.append("  # Your own events, the rarer the higher: put them into the order of your funnel.")
    lines += [f"  - {name}: {type_}" for name, type_ in activities]
    last = activities[-1][0] if activities else "interested" if intents else "engaged"
    lines += ["", "# Places beside the path, mildest first."]
    lines += ["setbacks:", "  - at_risk: {no_click: {sends: 3, grace: 48h}}", "  - dormant: {quiet: 30d}"]
    if sample.leaves_lists:
        lines.append("  - opted_out: {unsubscribed: any}")
    lines += ["recover: {clicked: any}", "", "# Ends, from anywhere."]
    lines += ["exits:", "  - unsubscribed: {unsubscribed: all}", "  - complained: email.complained"]
    lines.append("  - undeliverable: {event: email.bounced, where: {class: hard}}")
    lines += [
        "",
        f"goal: {{reach: {last}}}",
        "",
        "# What the engine makes of these events; change both to what should be.",
    ]
    lines.append("tests:")
    for number, (name, events) in enumerate(_tests(sample, links, intents, activities)):
        lines += [f"  - name: {name}", "    events:", *(f"      - {_quoted(line)}" for line in events)]
        records = expected[number] if number < len(expected) else ()
        lines += ["    expect:", *(f"      - {line}" for line in records)] if records else ["    expect: []"]
    return "\n".join(lines) + "\n"


def _tests(
    sample: Sample, links: Sequence[_Link], intents: Sequence[_Link], activities: Sequence[tuple[str, str]]
) -> list[tuple[str, list[str]]]:
    """One walk up the path, and one contact that is nearly lost."""
    calm = next((link.url for link in links if link.means != "disengagement"), "https://example.com/")
    campaigns = sorted(_first_of_each(sample.campaigns)) or ["news-900"]
    campaign = campaigns[0]
    begin = "0d contact.subscribed" if "contact.subscribed" in sample.types else f"0d sent {campaign}"
    up = [begin, f"1d sent {campaign}", f"2d clicked {calm} campaign={campaign}"]
    up += [f"3d clicked {intents[0].url}"] if intents else []
    up += [f"{4 + i}d {type_}" for i, (_, type_) in enumerate(activities)]
    ignored = _three(campaigns, _globs(sample.campaigns)[0])
    lost = [begin, *(f"{1 + i}d sent {name}" for i, name in enumerate(ignored)), f"9d clicked {calm}"]
    return [("the way up", up), (f"{len(ignored)} ignored campaigns, then a click", lost)]


def _three(campaigns: Sequence[str], globs: Sequence[str]) -> list[str]:
    """Three campaigns that the proposed patterns take: those seen, and others of an open pattern if there are fewer."""
    stems = [glob[:-1] for glob in globs if glob.endswith("*")] or ([] if globs else ["news-"])
    made = [f"{stem}{number}" for stem in stems for number in (901, 902)]
    return [*campaigns, *made][:3]


def _entry(sample: Sample) -> tuple[str, str]:
    """How a contact comes in: by its subscription where the company says so, else with the first mail."""
    if "contact.subscribed" in sample.types:
        return "subscribed", "contact.subscribed"
    return "receiving", "email.delivered"


def _links(places: Mapping[tuple[str, str, bool], int]) -> list[_Link]:
    """The places clicked most, one for each host and first segment, those clicked most first."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for (host, first, deeper), clicks in places.items():
        counts = grouped.setdefault((host, first), [0, 0])
        counts[deeper] += clicks
    links: list[_Link] = []
    for (host, first), (direct, below) in sorted(grouped.items(), key=lambda item: (-sum(item[1]), item[0])):
        name = _name(first or "home", [link.name for link in links] + ["any", "all"])
        path = f"{host}/{first}" if first else host
        means = "disengagement" if _says(first, _LEAVING) else "intent" if _says(first, _INTENT) else ""
        links.append(_Link(name, f"{path}/**" if below else path, means, f"https://{path}", direct + below))
        if len(links) == LINKS:
            break
    return links


def _says(segment: str, words: Sequence[str]) -> bool:
    text = segment.lower()
    return text in words or any(part in words for part in re.split("[-_]", text))


def _globs(campaigns: Mapping[str, int]) -> tuple[list[str], int]:
    """Patterns of campaign names, a counter or date at the end left open; and how many are left out."""
    sends: dict[str, int] = {}
    for campaign, count in campaigns.items():
        glob = _glob(campaign, campaigns)
        sends[glob] = sends.get(glob, 0) + count
    found = sorted(sends, key=lambda glob: (-sends[glob], glob))
    return found[:CAMPAIGNS], len(found[CAMPAIGNS:])


def _glob(campaign: str, campaigns: Iterable[str]) -> str:
    stem = _COUNTER.sub("", campaign)
    alike = sum(_COUNTER.sub("", other) == stem for other in campaigns) if stem and stem != campaign else 0
    return f"{stem}*" if alike > 1 else campaign


def _first_of_each(campaigns: Mapping[str, int]) -> list[str]:
    """Campaigns that the proposed patterns take."""
    globs, _ = _globs(campaigns)
    return [campaign for campaign in campaigns if _glob(campaign, campaigns) in globs]


def _activities(types: Mapping[str, int]) -> list[tuple[str, str]]:
    """Own events as stages, the most frequent lowest: a funnel narrows."""
    own = sorted((type_ for type_ in types if type_ and is_custom(type_)), key=lambda type_: (-types[type_], type_))
    taken = "subscribed receiving engaged interested at_risk dormant opted_out unsubscribed complained undeliverable"
    named: list[tuple[str, str]] = []
    for type_ in own[:ACTIVITIES]:
        named.append((_name(type_, [*taken.split(), *(name for name, _ in named)]), type_))
    return named


def _name(text: str, taken: Sequence[str]) -> str:
    """A name of the journey language made of ``text``, none of ``taken``."""
    name = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")[:56] or "place"
    if not name[0].isalpha():
        name = f"n_{name}"
    made, number = name, 2
    while made in taken:
        made, number = f"{name}_{number}", number + 1
    return made


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
