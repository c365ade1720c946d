"""Which rules differ, in which lines, and who would move."""

from __future__ import annotations

from stagepost.events import DAY, Event, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.plan_change import Movement, Moving, RuleChange, after_switch, places, rule_changes
from stagepost.journey.simulate import Simulation
from stagepost.journey.switch import change_of, switch_to

OLD = """journey: path
links:
  pricing: example.com/pricing
stages:
  - joined: contact.subscribed
  - reader: {clicked: any}
  - fan: {clicked: pricing, times: 3}
setbacks:
  - cold: {quiet: 14d}
exits:
  - gone: email.complained
recover: {clicked: any}
"""
START = parse_rfc3339("2026-03-02T00:00:00Z")


def read(text: str) -> Journey:
    parsed = parse_journey(text, "path.yaml")
    assert parsed.journey is not None, parsed.problems
    return parsed.journey


def changes(new: str, old: str = OLD) -> list[tuple[str, str, str | None, str | None, int | None, int | None]]:
    found = rule_changes(read(old), read(new))
    return [(c.rule, c.kind, c.before, c.after, c.line_before, c.line_after) for c in found]


def test_comments_spelling_and_the_order_of_keys_are_no_difference() -> None:
    head, tail = OLD.split("exits:")
    assert changes("# why\n" + head.replace("{quiet: 14d}", "{quiet: 2w}") + "exits:" + tail) == []


def test_a_changed_condition_is_named_with_both_lines() -> None:
    assert changes(OLD.replace("  - reader: {clicked: any}\n", "").replace("times: 3", "times: 2")) == [
        ("stages.fan", "changed", "clicked pricing, 3 times", "clicked pricing, 2 times", 7, 6),
        ("setbacks.cold", "changed", "quiet for 2w; from joined, reader, fan", "quiet for 2w; from joined, fan", 9, 8),
        ("stages.reader", "removed", "clicked any", None, 6, None),
    ]


def test_keys_beside_the_rules_count_and_have_their_lines() -> None:
    added = (
        "goal: {reach: fan, within: 60d}\nreenter: {after: 90d, never_after: [gone]}\nconsent: tracking\nbots: off\n"
    )
    assert changes(
        OLD + added + "sends: [b, a]\nlateness: 2h\nenter: first\non_change: finish\nlabels: {team: crm}\n"
    ) == [
        ("sends", "added", None, "a, b", None, 17),
        ("labels", "added", None, "team: crm", None, 21),
        ("enter", "added", None, "first", None, 19),
        ("reenter", "added", None, "after 90d, never after gone", None, 14),
        ("goal", "added", None, "fan within 60d", None, 13),
        ("consent", "added", None, "tracking, default denied", None, 15),
        ("bots", "added", None, "off", None, 16),
        ("lateness", "added", None, "2h", None, 18),
        ("on_change", "added", None, "finish", None, 20),
        (
            "setbacks.cold",
            "changed",
            "quiet for 2w; from joined, reader, fan",
            "quiet for 2w; from joined, reader",
            9,
            9,
        ),
    ]


def test_a_link_a_stall_and_a_way_out_are_part_of_what_a_rule_means() -> None:
    new = (
        OLD.replace("pricing: example.com/pricing", "pricing: {url: example.com/p, means: intent}")
        .replace("- joined: contact.subscribed", "- joined: {when: contact.subscribed, stalls_after: 3d}")
        .replace("{quiet: 14d}", "{quiet: 14d, until: never}")
    )
    assert [(rule, after) for rule, _, _, after, _, _ in changes(new)] == [
        ("links.pricing", "example.com/p, means intent"),
        ("stages.joined", "contact.subscribed; stalls after 3d"),
        ("setbacks.cold", "quiet for 2w; from joined, reader, fan; until never"),
    ]


def test_a_rule_at_another_place_of_its_list_moved() -> None:
    lines = OLD.splitlines(keepends=True)
    turned = "".join([*lines[:5], lines[6], lines[5], *lines[7:]])
    assert [(rule, kind, was, now) for rule, kind, _, _, was, now in changes(turned)][:2] == [
        ("stages.fan", "moved", 7, 6),
        ("stages.reader", "moved", 6, 7),
    ]


def test_a_journey_that_comes_or_goes_is_one_change() -> None:
    journey = read(OLD)
    assert rule_changes(None, None) == ()
    assert rule_changes(None, journey) == (RuleChange("path", "journey", "added", after=journey.version, line_after=1),)
    assert rule_changes(journey, None) == (RuleChange("path", "journey", "removed", before=journey.version),)


def test_movement_counts_contacts_by_where_they_go() -> None:
    movement = Movement()
    for before, after in [("a", "b"), ("a", "b"), ("b", "b"), (None, "b")]:
        movement.add({"j": before} if before else {}, {"j": after})
    assert (movement.looked_at, movement.rows()) == (4, (Moving("j", "a", "b", 2), Moving("j", None, "b", 1)))


def test_a_contact_is_looked_at_as_it_would_be_once_its_timers_that_are_over_have_fired() -> None:
    old, new = read(OLD.replace("  - cold: {quiet: 14d}\n", "  - cold: {stuck: 300d}\n")), read(OLD)
    simulation = Simulation(compile_program([old]))
    event = Event(id="e", type="contact.subscribed", occurred_at=rfc3339(START), contact="c")
    assert len(list(simulation.run([(event, START)], START + 30 * DAY))) == 1
    program = compile_program([new])
    change = change_of({"path": old.version}, {}, {}, [new], lambda version: True)
    switch = switch_to(program, change, 2, START + 20 * DAY, {("path", old.version): old}.get)
    state = simulation.states["c"]
    assert state is not None
    then = after_switch(switch, "c", state, START + 20 * DAY)
    assert (places(state, program), places(then, program)) == ({"path": "joined"}, {"path": "cold"})
