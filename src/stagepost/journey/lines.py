"""Where in its file a rule stands: rule paths of records back to lines."""

from __future__ import annotations

from stagepost.journey.definition import Exit, Journey, Setback, Stage


def line_of(journey: Journey, rule: str) -> int | None:
    """The 1-based line of a rule path such as ``stages.interested`` or ``setbacks.email_off.until``; None: not known.

    A stage, setback or exit knows its place; another key is looked for at the beginning of a line.
    """
    path = rule.removesuffix(".until")
    places: list[Stage | Setback | Exit] = [*journey.stages, *journey.setbacks, *journey.exits]
    for place in places:
        if place.path == path:
            return place.position.line
    key = rule.partition(".")[0]
    lines = enumerate(journey.text.splitlines(), start=1)
    return next((number for number, line in lines if line.startswith(f"{key}:")), None)
