"""What the demo shows while it runs: a live picture on a terminal, plain lines everywhere else.

May not contain: reading topics or starting processes; it is handed a Glimpse and draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stagepost.demo.results import Incident
from stagepost.events import DAY, HOUR, Transition, rfc3339
from stagepost.journey.simulate import FunnelRow
from stagepost.wording import counted

_PLAIN_EVERY_S = 2.0
"""Between two lines about the state of things where there is no terminal."""

_BAR = 16
"""Characters of the longest bar of a funnel."""


@dataclass(frozen=True)
class Glimpse:
    """The state of things at one moment. Rates are per second of wall time over the last seconds."""

    phase: str
    elapsed_s: float
    clock: int
    """Event time up to which everything is published, micros."""
    played: int
    """Of the history, micros of event time since its start."""
    posts: int
    events: int
    events_per_s: float
    moves: int
    moves_per_s: float
    behind: int
    """Micros of event time between what is published and what is worked off."""
    dead_letters: int
    funnels: Mapping[str, Sequence[FunnelRow]]
    newest: Sequence[Transition]
    alerts: Sequence[Incident]


class Screen(Protocol):
    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def show(self, glimpse: Glimpse) -> None:
        """The state of things; called several times a second."""
        ...

    def close(self) -> None:
        """The last picture stays."""
        ...


def screen_on(stream: TextIO, colour: bool) -> Screen:
    """A live picture when ``stream`` is a terminal, else plain lines. ``colour``: False under NO_COLOR."""
    if stream.isatty():
        return LiveScreen(Console(file=stream, no_color=not colour, highlight=False))
    return PlainScreen(stream)


class PlainScreen:
    """One line every two seconds; the first move, and every alert, at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown_s = 0.0
        self._moves = 0
        self._alerts: dict[tuple[str, str], str] = {}

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def show(self, glimpse: Glimpse) -> None:
        if glimpse.moves and not self._moves and glimpse.newest:
            self.say(f"{glimpse.elapsed_s:5.1f} s  first move: {told(glimpse.newest[-1])}")
            self._moves = glimpse.moves
        for alert in glimpse.alerts:
            if self._alerts.get((alert.metric, alert.scope_id)) != alert.status:
                self._alerts[alert.metric, alert.scope_id] = alert.status
                self.say(f"{glimpse.elapsed_s:5.1f} s  alert {alert.status}: {alert.summary}")
        if glimpse.elapsed_s - self._shown_s < _PLAIN_EVERY_S:
            return
        self._shown_s = glimpse.elapsed_s
        self.say(status_line(glimpse))
        if glimpse.newest and glimpse.moves != self._moves:
            self._moves = glimpse.moves
            self.say(f"         {told(glimpse.newest[-1])}")

    def close(self) -> None:
        """Nothing is held back."""


class LiveScreen:
    """Redraws one picture in place; said lines scroll above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def say(self, line: str) -> None:
        self._console.print(Text(line))

    def show(self, glimpse: Glimpse) -> None:
        self._live.update(_picture(glimpse), refresh=True)

    def close(self) -> None:
        self._live.stop()


def status_line(glimpse: Glimpse) -> str:
    """Time, rates and distance in one line."""
    return (
        f"{glimpse.elapsed_s:5.1f} s  {glimpse.phase}  day {glimpse.played / DAY:4.1f} "
        f"({rfc3339(glimpse.clock)[:16]}Z)  "
        f"{counted(glimpse.events, 'event')}, {glimpse.events_per_s:,.0f}/s  {counted(glimpse.moves, 'move')}, "
        f"{glimpse.moves_per_s:,.0f}/s  {glimpse.behind / HOUR:.1f} h behind  "
        f"{counted(glimpse.dead_letters, 'dead letter')}"
    )


def told(move: Transition) -> str:
    """A move and its cause in one line.

    The contact id is the demo's own invention; real ones are shown by ``stagepost explain`` only.
    """
    place = f"{move.from_ or '-'} -> {move.to}"
    return f"{move.at[:19]}Z  {move.contact:<8} {move.kind:<8} {place:<28} {_cause(move)}"


def _cause(move: Transition) -> str:
    if move.timer is not None:
        return f"timer {move.timer.name}"
    if move.cause is None:
        return ""
    of = f" of {move.cause.campaign}" if move.cause.campaign else ""
    return f"{move.cause.type}{of}{' ' + move.cause.url if move.cause.url else ''}"


def _picture(glimpse: Glimpse) -> Group:
    """What matters most first: a small terminal shows only the beginning."""
    moves = "\n".join(told(move) for move in reversed(glimpse.newest))
    return Group(
        Text(status_line(glimpse), style="bold", overflow="ellipsis", no_wrap=True),
        *(_alert(alert) for alert in glimpse.alerts),
        *(_journey(journey, rows) for journey, rows in glimpse.funnels.items()),
        Text("newest moves", style="bold"),
        Text(moves, overflow="ellipsis", no_wrap=True),
    )


def _alert(alert: Incident) -> Text:
    style = "bold red" if alert.status == "firing" else "green"
    return Text(f"{alert.status}: {alert.summary}", style=style, overflow="ellipsis", no_wrap=True)


def _journey(journey: str, rows: Sequence[FunnelRow]) -> Table:
    """Stages on the left, as a funnel; setbacks and exits beside them."""
    sides = Table.grid(padding=(0, 4))
    stages = [row for row in rows if row.kind == "stage"]
    sides.add_row(_places(journey, stages, "cyan"), _places("off the path", rows[len(stages) :], "yellow"))
    return sides


def _places(title: str, rows: Sequence[FunnelRow], style: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title, style=style)
    table.add_column("now", justify="right")
    table.add_column("reached", justify="right")
    table.add_column("", style=style, width=_BAR)
    most = max((row.reached for row in rows), default=0) or 1
    for row in rows:
        table.add_row(row.place, f"{row.now:,}", f"{row.reached:,}", "#" * round(_BAR * row.reached / most))
    return table
