from __future__ import annotations

from stagepost.bench import stream
from stagepost.bench.expected import AFTER, JourneyMoves, RuleMoves
from stagepost.bench.peers import rule
from stagepost.events import encode_json, parse_rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.fold import Fold, TimerIndex

EVENTS = list(stream.flow(3_000, 200, 3, 300.0))


def test_the_journeys_moves_are_those_of_one_fold_over_each_partition() -> None:
    one = JourneyMoves(1, AFTER)
    for event in EVENTS:
        one.add(event.contact.encode(), encode_json(event))
    assert one.finish() == _folded()


def test_events_in_more_partitions_move_people_about_as_often() -> None:
    # Not just as often: the clock that timers fire by is the partition's own.
    counts = []
    for partitions in (1, 8):
        moves = JourneyMoves(partitions, AFTER)
        for event in EVENTS:
            moves.add(event.contact.encode(), encode_json(event))
        counts.append(moves.finish())
    assert 0.8 < counts[0] / counts[1] < 1.25


def test_the_peers_rule_moves_a_contact_up_once_for_each_height_and_passes_over_repeats() -> None:
    moves = RuleMoves()
    for event in [*EVENTS, *EVENTS[-5:]]:
        moves.add(encode_json(event))
    heights: dict[str, list[int]] = {}
    for event in EVENTS:
        rank = rule.rank_of(rule.decode(encode_json(event)))
        reached = heights.setdefault(event.contact, [0])
        if rank > reached[-1]:
            reached.append(rank)
    assert moves.transitions == sum(len(reached) - 1 for reached in heights.values())


def _folded() -> int:
    """The same moves, by one fold without batches."""
    program = compile_program([stream.whole_journey()])
    fold = Fold(program, clock=0, state_of=lambda contact: None, timers=TimerIndex())
    steps = [step for event in EVENTS for _, step in fold.event(event, parse_rfc3339(event.occurred_at))]
    return sum(len(step.moves) for step in steps)
