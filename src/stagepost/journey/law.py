"""The law of moves as data: what a step may do to a run, in order of precedence (journeys.md 3).

    LAW   kind       from         to                       when the event or timer is one of the rule's own and
    1     exit       a run        the exit                 the first exit in the list that holds
    2     setback    a run        the setback              the last setback that holds, whose ``from`` has the stage,
                                                           later in the list than the present setback
    3     recover    a setback    the better of best and   ``until`` holds, counted from the setback on
                                  the highest that holds
    4     advance    a run        a higher stage           the highest stage above the best that holds; not out of a
                                                           setback that says ``until: never``
          enter      nothing      a stage                  the same; with ``enter: first`` only the first stage
          reenter    an exit      a stage                  the same, if ``reenter`` allows
    -     stall      a stage      itself                   its ``stalls_after`` has passed; the stay goes on

At most one move for a step, the first that applies. ``moves.py`` carries it out, ``graph.py`` draws it.
May not contain: anything else.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Law:
    """One row of the table of moves: what ``graph`` and ``explain`` call it."""

    kind: str
    source: str
    target: str
    when: str


LAW = (
    Law("exit", "a run", "the exit", "the first exit that holds"),
    Law("setback", "a run", "the setback", "the last setback that holds, after the present one, from this stage"),
    Law("recover", "a setback", "the better of the best stage and the highest that holds", "until holds"),
    Law("advance", "a run", "a higher stage", "the highest stage above the best that holds"),
    Law("enter", "nothing", "a stage", "the highest stage that holds"),
    Law("reenter", "an exit", "a stage", "the highest stage that holds, if reenter allows"),
    Law("stall", "a stage", "itself", "stalls_after has passed"),
)
"""The table above as data, in order of precedence; ``stall`` stands apart."""
