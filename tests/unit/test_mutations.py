"""The table of ``python -m tests.mutate`` stays true, and a trial tells a broken rule from a whole one."""

from __future__ import annotations

import ast
from functools import lru_cache

import pytest
from tests.mutate.__main__ import line
from tests.mutate.table import MUTATIONS, Mutation
from tests.mutate.trial import PACKAGE, Verdict, changed_source, pieces_found, run_trial


@pytest.mark.parametrize("mutation", [pytest.param(m, id=f"{m.file}: {m.rule}") for m in MUTATIONS])
def test_each_change_finds_its_piece_once_and_leaves_a_different_program(mutation: Mutation) -> None:
    assert 1 == pieces_found(mutation)
    assert program_of(mutation.path) != ast.dump(ast.parse(changed_source(mutation)))


@lru_cache
def program_of(path: str) -> str:
    return ast.dump(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))


def test_each_rule_is_named_once() -> None:
    named = [(m.file, m.rule) for m in MUTATIONS]

    assert sorted(set(named)) == sorted(named)


def rule(name: str) -> Mutation:
    return next(mutation for mutation in MUTATIONS if mutation.rule == name)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("the first exit in the list that holds", "test_moves.test_move[the first exit in the list that holds]"),
        ("no_click counts once per campaign", "test_conditions.test_condition[once per campaign]"),
        ("consent denied is the default", "test_consent.test_consent[without consent no engagement moves]"),
    ],
)
def test_a_broken_rule_is_seen_by_its_scenario(name: str, test: str) -> None:
    of_the_rule = (f"tests/scenarios/{test.partition('.')[0]}.py",)  # scenarios of other rules may see it too

    assert Verdict("killed", f"tests.scenarios.{test}") == run_trial(rule(name), of_the_rule)


def test_a_change_that_breaks_no_rule_survives() -> None:
    harmless = Mutation("none", "fold.py", "from heapq import heapify", "from heapq import heapify as heapify")

    verdict = run_trial(harmless, ("tests/unit/journey/test_durations.py",))

    assert Verdict("survived", "") == verdict
    assert "SURVIVED  fold.py: none" == line(harmless, verdict)


def test_a_change_that_cannot_be_imported_is_no_kill() -> None:
    broken = Mutation("none", "fold.py", "from heapq import heapify", "from heapq import nothing, heapify")

    assert "unclear" == run_trial(broken, ("tests/unit/journey/test_fold.py",)).outcome
