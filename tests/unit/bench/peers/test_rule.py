from __future__ import annotations

import re
from pathlib import Path

from stagepost.bench import peers
from stagepost.bench.peers.rule import REMEMBERED, Event, Standing, Tally, Transition, advance, pack, unpack


def event(id_: str, type_: str, url: str | None = None) -> Event:
    return Event(id_, type_, "c-1", "2026-11-02T09:00:00Z", "spring", url)


def test_a_contact_moves_up_and_never_down_and_a_repeat_changes_nothing() -> None:
    standing = Standing()
    moves = []
    for each in (
        event("1", "email.delivered"),
        event("2", "email.clicked", "https://example.com/pricing/teams"),
        event("2", "email.clicked", "https://example.com/pricing/teams"),
        event("3", "email.clicked", "https://example.com/blog/1"),
        event("4", "order.completed"),
    ):
        result = advance(standing, each)
        if result is not None:
            standing, move = result
            moves += [] if move is None else [(move.before, move.after)]
    assert moves == [(0, 1), (1, 3), (3, 4)]
    assert standing == Standing(4, ["1", "2", "3", "4"])


def test_a_transition_tells_its_cause() -> None:
    result = advance(Standing(), event("7", "email.delivered"))
    assert result is not None
    assert result[1] == Transition("c-1", 0, 1, "2026-11-02T09:00:00Z", "7")


def test_only_the_newest_ids_are_remembered_and_a_state_is_read_as_it_was_written() -> None:
    standing = Standing()
    for number in range(REMEMBERED + 5):
        result = advance(standing, event(str(number), "email.opened"))
        assert result is not None
        standing = result[0]
    assert standing.ids == [str(number) for number in range(5, REMEMBERED + 5)]
    assert unpack(pack(standing)) == standing


def test_a_tally_begins_anew_once_it_was_taken() -> None:
    tally = Tally()
    tally.add(event("1", "email.opened"))
    tally.add(event("2", "email.opened"))
    assert (tally.events, tally.take(), tally.events, tally.take()) == (2, b'{"spring/email.opened":2}', 0, b"{}")


def test_the_java_job_says_the_same() -> None:
    java = (Path(peers.__file__).parent / "kafka_streams" / "Job.java").read_text()
    assert re.findall(r"REMEMBERED = (\d+)", java) == [str(REMEMBERED)]
    ranks = re.findall(r'case "([a-z.]+)":\s+return ([^;]+);', java)
    assert dict(ranks) == {
        "email.delivered": "1",
        "email.clicked": 'url != null && (url.contains("/pricing/") || url.contains("/products/")) ? 3 : 2',
        "order.completed": "4",
    }
