from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from stagepost.demo.results import Incident
from stagepost.demo.view import Glimpse, LiveScreen, PlainScreen, screen_on, told
from stagepost.events import DAY, HOUR, Cause, TimerRef, Transition
from stagepost.journey.simulate import FunnelRow

MOVE = Transition(
    id="1",
    journey="webinar-nurture",
    version="1",
    contact="c-10482",
    run="c-10482/webinar-nurture/1",
    from_="engaged",
    to="interested",
    kind="advance",
    at="2026-11-12T09:14:07.120Z",
    rule="stages.interested",
    cause=Cause("1", "email.clicked", "nurture-3", "m", "https://example.com/pricing/teams"),
    timer=None,
    credit=None,
    last_send=None,
    goal=False,
    move=3,
    dwell_s=86_400,
    best="interested",
    late=False,
)
ALERT = Incident("complaint", "campaign", "weekly-2", "firing", "warning", True, None, "Complaints 12x expected", 1)
GLIMPSE = Glimpse(
    phase="playing",
    elapsed_s=12.3,
    clock=9 * DAY,
    played=9 * DAY,
    posts=100,
    events=12_345,
    events_per_s=1_034,
    moves=42,
    moves_per_s=3,
    behind=2 * HOUR,
    dead_letters=7,
    funnels={"webinar-nurture": (FunnelRow("subscribed", "stage", 30, 42), FunnelRow("dormant", "setback", 12, 13))},
    newest=(MOVE,),
    alerts=(ALERT,),
)


def shown(*glimpses: Glimpse) -> list[str]:
    stream = io.StringIO()
    screen = PlainScreen(stream)
    for glimpse in glimpses:
        screen.show(glimpse)
    screen.close()
    return stream.getvalue().splitlines()


def test_a_move_is_told_with_its_cause() -> None:
    assert (
        "2026-11-12T09:14:07Z  c-10482  advance  engaged -> interested        "
        "email.clicked of nurture-3 https://example.com/pricing/teams"
    ) == told(MOVE)


def test_a_move_of_a_timer_names_the_timer() -> None:
    quiet = TimerRef("quiet", "2026-11-12T00:00:00.000Z")
    move = Transition(**{f: getattr(MOVE, f) for f in MOVE.__struct_fields__} | {"cause": None, "timer": quiet})
    assert told(move).endswith("timer quiet")


def test_plain_lines_tell_the_first_move_and_each_alert_at_once_and_the_rest_every_two_seconds() -> None:
    early = replace(GLIMPSE, elapsed_s=1.0)
    lines = shown(early, replace(early, elapsed_s=1.5))
    assert 2 == len(lines)
    assert "first move" in lines[0] and "alert firing: Complaints 12x expected" in lines[1]


def test_an_alert_is_told_again_when_it_changes() -> None:
    early = replace(GLIMPSE, elapsed_s=1.0, newest=(), moves=0)
    resolved = replace(early, alerts=(replace(ALERT, status="resolved"),))
    assert ["firing", "resolved"] == [line.split("alert ")[1].split(":")[0] for line in shown(early, early, resolved)]


def test_the_state_of_things_is_one_line() -> None:
    line = shown(replace(GLIMPSE, newest=(), alerts=(), moves=0))[0]
    assert " 12.3 s  playing  day  9.0 (1970-01-10T00:00Z)  12,345 events, 1,034/s" in line
    assert line.endswith("2.0 h behind  7 dead letters")


def test_no_terminal_means_plain_lines() -> None:
    assert isinstance(screen_on(io.StringIO(), colour=True), PlainScreen)


def test_the_picture_shows_alerts_funnel_and_moves_and_no_colour_when_none_is_wanted() -> None:
    stream = io.StringIO()
    screen = LiveScreen(Console(file=stream, force_terminal=True, no_color=True, width=140, height=40))
    screen.show(GLIMPSE)
    screen.close()
    text = stream.getvalue()
    for expected in ("firing: Complaints 12x expected", "subscribed", "off the path", "dormant", "email.clicked"):
        assert expected in text
    assert "\x1b[31m" not in text and "\x1b[36m" not in text
