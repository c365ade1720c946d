from __future__ import annotations

from itertools import pairwise

from stagepost.demo.player import HOLD_AT, Player
from stagepost.demo.traffic import History, Post
from stagepost.engine.plan import Topic
from stagepost.events import DAY, HOUR

ALL = 1 << 60


def post(at: int, topic: Topic = Topic.EVENTS, parts: int = 1) -> Post:
    return Post(at, topic, b"k", b"v", (), parts)


def of(posts: list[Post], end: int = 10 * DAY) -> History:
    return History(0, end, posts, 1, {})


EVEN = of([post(hour * HOUR) for hour in range(240)])


def played(player: Player, until: float, step: float = 0.1) -> list[tuple[float, Post]]:
    """Posts with the second at which they came, for roles that are never behind."""
    found = []
    for turn in range(round(until / step) + 1):
        found += [(turn * step, each) for each in player.turn(turn * step, 1000 + turn * step, ALL, ALL)]
    return found


def test_everything_is_published_once_and_in_order_within_the_time() -> None:
    player = Player(EVEN, play_s=10)
    assert EVEN.posts == [each for _, each in played(player, until=10.2)]
    assert player.done


def test_nothing_is_published_before_its_time_has_come() -> None:
    player = Player(EVEN, play_s=10)
    half = [each for _, each in played(player, until=5)]
    assert 100 <= len(half) <= 140
    assert player.clock == half[-1].at and not player.done


def test_a_burst_is_stretched_and_quiet_time_passes_quickly() -> None:
    burst = [post(5 * DAY + number) for number in range(1000)]
    times = [second for second, _ in played(Player(of([post(0), *burst, post(10 * DAY - 1)]), play_s=10), until=11)]
    assert times[-2] - times[1] > 4


def test_it_waits_for_roles_that_are_behind_and_goes_on_when_they_have_caught_up() -> None:
    player = Player(EVEN, play_s=10)
    first = player.turn(0, 0, 0, 0)
    for turn in range(1, 100):
        first = [*first, *player.turn(turn * 0.1, 0, 0, 0)]
    assert player.held and HOLD_AT < player.clock <= HOLD_AT + 6 * HOUR
    caught_up = player.turn(10, 0, ALL, len(first))
    assert caught_up and not player.held


def test_after_a_wait_it_is_at_most_twice_as_fast() -> None:
    player = Player(EVEN, play_s=10)
    player.turn(0, 0, ALL, ALL)
    for turn in range(1, 50):
        player.turn(turn * 0.1, 0, 0, 0)
    before = len(player.published)
    rates = []
    for turn in range(50, 150):
        rates.append(len(player.turn(turn * 0.1, 0, ALL, ALL)))
    assert len(player.published) > before
    assert max(sum(rates[i : i + 10]) for i in range(90)) <= 2 * 24 + 4


def test_what_the_company_publishes_waits_for_the_webhooks_before_it_to_be_normalised() -> None:
    posts = [post(HOUR, Topic.RAW, 3), post(2 * HOUR), post(3 * HOUR, Topic.RAW, 2), post(4 * HOUR)]
    player = Player(of(posts, end=5 * HOUR), play_s=1)
    player.turn(0, 0, 0, 0)
    assert [posts[0], posts[2]] == list(player.turn(1, 1, 0, 0))
    assert [] == list(player.turn(1.1, 1.1, 2, 2))
    assert [posts[1]] == list(player.turn(1.2, 1.2, 3, 3)) and not player.done
    assert [posts[3]] == list(player.turn(1.3, 1.3, 5, 6)) and player.done
    assert [posts[0], posts[2], posts[1], posts[3]] == list(player.published)


def test_the_distance_is_that_of_the_slower_role() -> None:
    posts = [post(hour * HOUR, Topic.RAW if hour % 2 else Topic.EVENTS, 3 if hour % 2 else 1) for hour in range(240)]
    player = Player(of(posts), play_s=1)
    played(player, until=2)
    parts, events = sum(p.parts for p in posts if p.topic == Topic.RAW), sum(p.parts for p in posts)
    assert parts == player.parts
    assert 0 == player.behind(parts, events)
    assert 2 * HOUR == player.behind(parts, events - 4 - 3)
    assert 2 * HOUR == player.behind(parts - 4, events)


def test_the_time_of_publication_of_an_event_is_found_again() -> None:
    player = Player(EVEN, play_s=10)
    came = {each.at: 1000 + second for second, each in played(player, until=10.2)}
    found = {at: player.published_at(at) for at in came}
    assert came == found
    assert all(a <= b for a, b in pairwise(came.values()))
    assert player.published_at(11 * DAY) is None
