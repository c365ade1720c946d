"""The schema of journey files says what the parser says, as far as the structure of a file goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.unit.journey.test_parse import FAULTS, WARNED

from stagepost.journey.parse import parse_journey
from stagepost.journey.problems import CATALOGUE
from stagepost.journey.yaml_nodes import Items, Pairs, Tree, Value, read_yaml
from stagepost.schemas import schema_of

ROOT = Path(__file__).parents[3]
CHECK = Draft202012Validator(schema_of("journey"))

STRUCTURE = set("SP101 SP102 SP103 SP105 SP107 SP108 SP109 SP301 SP303 SP305 SP306 SP307 SP401 SP402".split())
"""Codes about the structure of a file; the others are about what its words mean together."""

BEYOND = {
    *("endless duration", "where regex", "where regex of letters", "where in infinity", "expectation of nowhere"),
    *("test key", "test key of another verb", "test machine", "test scope", "test scope without id"),
    *("stall of nothing", "stall of an exit"),
}
"""Faults of structure that JSON Schema has no word for: sizes of durations and numbers, RE2, places in a test; or that
would make a pattern of a test's line that nobody can read."""


def plain(tree: Tree | None) -> Any:
    """A file as an editor sees it: YAML 1.2 values."""
    if isinstance(tree, Pairs):
        return {key.text: plain(value) for key, value in tree.pairs}
    if isinstance(tree, Items):
        return [plain(item) for item in tree.items]
    return tree.value if isinstance(tree, Value) else None


def valid(text: str) -> bool:
    return CHECK.is_valid(plain(read_yaml(text)))


@pytest.mark.parametrize("file", sorted((ROOT / "src").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_packaged_journey_validates(file: Path) -> None:
    assert valid(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "text", "code"), [(f[0], f[1], f[4]) for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_broken_files_validate_only_if_their_fault_is_none_of_structure(name: str, text: str, code: str) -> None:
    if code not in ("SP001", "SP002", "SP104"):
        assert valid(text) == (code not in STRUCTURE or name in BEYOND)


@pytest.mark.parametrize("text", [warned[1] for warned in WARNED], ids=[warned[0] for warned in WARNED])
def test_files_with_warnings_validate(text: str) -> None:
    assert valid(text)


@pytest.mark.parametrize("code", set(CATALOGUE) - {"SP001", "SP002", "SP104"})
def test_the_broken_file_of_each_code_validates_only_if_its_fault_is_none_of_structure(code: str) -> None:
    assert valid(CATALOGUE[code].broken) == (code not in STRUCTURE)


BOUNDS: dict[str, tuple[int, Any]] = {
    # the most that is allowed, and a file with so many
    "times": (100, lambda n: {"stages": [{"one": {"clicked": "any", "times": n}}]}),
    "sends": (20, lambda n: {"stages": [{"one": {"no_click": {"sends": n, "grace": "2d"}}}]}),
    "urls": (16, lambda n: {"bots": {"burst": {"urls": n}}}),
    "stages": (64, lambda n: {"stages": [{f"s{i}": f"a.b{i}"} for i in range(n)]}),
    "setbacks": (32, lambda n: {"setbacks": [{f"b{i}": {"quiet": "3d", "until": "never"}} for i in range(n)]}),
    "exits": (32, lambda n: {"exits": [{f"e{i}": f"a.b{i}"} for i in range(n)]}),
    "any": (50, lambda n: {"stages": [{"one": {"any": [f"a.b{i}" for i in range(n)]}}]}),
    "all": (50, lambda n: {"stages": [{"one": {"all": [f"a.b{i}" for i in range(n)]}}]}),
    "links": (200, lambda n: {"links": {f"l{i}": "x.com" for i in range(n)}}),
    "labels": (32, lambda n: {"labels": {f"l{i}": "x" for i in range(n)}}),
    "sends of a journey": (100, lambda n: {"sends": [f"c{i}" for i in range(n)]}),
    "tests": (200, lambda n: {"tests": [{"name": "t", "events": [], "expect": []}] * n}),
    "lines of a test": (1000, lambda n: {"tests": [{"name": "t", "events": ["0d a.b"] * n, "expect": []}]}),
    "where": (100, lambda n: {"stages": [{"one": {"event": "a.b", "where": {f"f{i}": 1 for i in range(n)}}}]}),
    "name": (64, lambda n: {"journey": "j" * n}),
    "text": (1024, lambda n: {"title": "t" * n}),
    "path": (256, lambda n: {"stages": [{"one": {"event": "a.b", "where": {"p" * n: 1}}}]}),
    "type": (256, lambda n: {"stages": [{"one": "a." + "b" * (n - 2)}]}),
    "digits of a duration": (9, lambda n: {"lateness": "1d".rjust(n + 1, "0")}),
}


@pytest.mark.parametrize(("most", "file"), BOUNDS.values(), ids=BOUNDS)
def test_schema_and_parser_have_the_same_bounds(most: int, file: Any) -> None:
    for number, fine in ((most, True), (most + 1, False)):
        whole = {"journey": "j", "stages": [{"one": "a.b"}], **file(number)}
        codes = [problem.code.id for problem in parse_journey(json.dumps(whole), "j").problems]
        assert (fine, fine) == (CHECK.is_valid(whole), not STRUCTURE.intersection(codes)), codes


# Random trees, right and nearly right


def mostly(good: list[Any], bad: list[Any]) -> st.SearchStrategy[Any]:
    """One fault in many values, so that a file often has none or a single one."""
    return st.sampled_from(good * (1 + 24 * len(bad) // len(good)) + bad)


DURATIONS = mostly(["3d", "48h", "90s", "2w", "007m"], ["0d", "3 d", "", "12", "1234567890d", 3])
NAMES = mostly(["one", "two", "pricing", "leave", "a" * 64], ["Big", "a" * 65])
TYPES = mostly(["a.b", "order.completed", "email.delivered"], ["nodot", "a..b", "with blank.b", "", 1.5])
TEXTS = mostly(["n-*", "x", "any", "all"], ["", True, 3, None])
SCALARS = mostly(["pro", "", 0, 2.5, True], [None])
NUMBERS = mostly([1, 2, 3, 20], [21, 100, 101, 0, -1, "3", True, 2.5])
LISTS = st.lists(SCALARS, min_size=1, max_size=2) | mostly([["x"]], [[], {}])
TESTS = st.one_of(
    st.dictionaries(mostly(["eq", "ne"], ["over"]), SCALARS, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["gt", "ge", "lt", "le"]), mostly([1, 2.5, "b"], [True, None, []]), max_size=2),
    st.dictionaries(st.just("in"), LISTS, max_size=1),
    st.dictionaries(st.just("prefix"), mostly(["a", ""], [3, True]), max_size=1),
    st.dictionaries(st.just("exists"), mostly([True, False], [1, "true"]), max_size=1),
)
WHERES = st.dictionaries(mostly(["total", "a.b", "x" * 256], ["", "x" * 257]), SCALARS | TESTS, max_size=2)
LINKS = st.sampled_from(["any", "pricing", "leave"]) | st.lists(st.sampled_from(["pricing", "leave"]), max_size=2)
SCOPES = TEXTS | st.fixed_dictionaries({}, optional={"scope": mostly(["list", "topic"], ["domain"]), "id": TEXTS})


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with few of these keys; ``_x`` for words of Python."""
    named = {key.rstrip("_"): value for key, value in fields.items()}
    picked = st.lists(st.sampled_from(sorted(named)), max_size=2, unique=True)
    return picked.flatmap(lambda keys: st.fixed_dictionaries({key: named[key] for key in keys}))


def beside(head: st.SearchStrategy[dict[str, Any]], more: st.SearchStrategy[dict[str, Any]]) -> Any:
    return st.builds(lambda a, b: {**b, **a}, head, st.just({}) | more)


def head(key: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return value.map(lambda given: {key: given})


OPTIONS = some(
    where=WHERES,
    campaign=TEXTS,
    times=NUMBERS,
    within=DURATIONS,
    per=mostly(["campaign"], ["x"]),
    after_send=DURATIONS,
)
EVENTS = st.one_of(
    beside(head("event", TYPES), OPTIONS),
    beside(head("clicked", LINKS), OPTIONS),
    beside(head("opened", mostly(["any"], ["all"])), OPTIONS),
    beside(head("subscribed", SCOPES), OPTIONS),
    beside(head("unsubscribed", SCOPES), some(after_send=DURATIONS, campaign=TEXTS, where=WHERES)),
    TYPES,
)
TIMERS = st.one_of(
    head(
        "no_click",
        st.fixed_dictionaries({"sends": NUMBERS, "grace": DURATIONS}, optional={"count": mostly(["sent"], ["opened"])})
        | some(sends=NUMBERS, grace=DURATIONS),
    ),
    head("quiet", DURATIONS | some(for_=DURATIONS, opens=mostly([True, False], [1, "yes"]))),
    head("stuck", DURATIONS),
    head("after", DURATIONS),
    head(
        "missed",
        st.fixed_dictionaries(
            {"first": EVENTS, "then": EVENTS | head("any", st.lists(EVENTS, max_size=2))},
            optional={"within": DURATIONS},
        ),
    ),
)
CONDITIONS = st.recursive(
    EVENTS | TIMERS,
    lambda inner: st.one_of(
        head("any", st.lists(inner, max_size=2)),
        head("all", st.lists(inner, max_size=2)),
        head("not", inner),
        st.lists(inner),
    ),
    max_leaves=3,
).filter(lambda condition: depth(condition) < 4)


def depth(condition: Any) -> int:
    inside = (
        list(condition.values()) if isinstance(condition, dict) else condition if isinstance(condition, list) else []
    )
    own = isinstance(condition, dict) and any(key in condition for key in ("any", "all", "not", "missed"))
    return own + max(map(depth, inside), default=0)


def entries(own: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Any]]:
    body = st.one_of(
        CONDITIONS,
        beside(head("when", CONDITIONS), own),
        beside(CONDITIONS.filter(lambda condition: isinstance(condition, dict)), own),
        own,
    )
    return st.lists(st.dictionaries(NAMES, body, min_size=1, max_size=1) | CONDITIONS, max_size=2)


TEST_LINES = st.sampled_from(["0d a.b", "1d clicked https://x.com/a", "2d sent n-1", "soon a.b", "3d jump"])
EXPECTATIONS = st.sampled_from(["0d none -> one", "1d stall one", "0d one", "one -> one"])
SECTIONS: dict[str, st.SearchStrategy[Any]] = {
    "title": TEXTS,
    "sends": st.lists(TEXTS, max_size=2) | TEXTS,
    "labels": st.dictionaries(NAMES, TEXTS, max_size=2) | TEXTS,
    "links": st.dictionaries(
        st.sampled_from(["pricing", "leave", "any", "Big"]),
        TEXTS.map(lambda text: "example.com/x" if text in ("any", "all", "n-*") else text)
        | some(url=st.sampled_from(["x.com", 3, {}]), means=st.sampled_from(["intent", "love"])),
        max_size=2,
    ),
    "setbacks": entries(some(from_=st.lists(TEXTS, max_size=2) | TEXTS, until=CONDITIONS | st.just("never"))),
    "exits": entries(st.just({"until": "never"})),
    "recover": CONDITIONS,
    "enter": st.sampled_from(["any", "first", "last", None]),
    "reenter": st.sampled_from(["always", "never", "maybe"])
    | some(after=DURATIONS, never_after=st.lists(TEXTS, max_size=2)),
    "goal": some(reach=TEXTS, within=DURATIONS) | TEXTS,
    "consent": some(purpose=TEXTS, default=st.sampled_from(["granted", "given"])) | TEXTS,
    "bots": st.sampled_from(["off", "on"])
    | some(instant=DURATIONS, near=DURATIONS, burst=some(urls=NUMBERS, within=DURATIONS) | NUMBERS, hold=DURATIONS),
    "attribution": some(window=DURATIONS) | DURATIONS,
    "lateness": DURATIONS,
    "on_change": st.sampled_from(["keep", "drop"]),
    "tests": st.lists(
        st.fixed_dictionaries(
            {"name": TEXTS, "events": st.lists(TEST_LINES, max_size=2)},
            optional={"expect": st.lists(EXPECTATIONS, max_size=2), "more": TEXTS},
        ),
        max_size=1,
    ),
    "unknown": TEXTS,
}
FILES = st.builds(
    lambda top, more: {**top, **more},
    st.fixed_dictionaries(
        {"journey": st.just("j") | NAMES, "stages": entries(some(stalls_after=DURATIONS, until=DURATIONS))}
    ),
    some(**SECTIONS),
)


def meaningless(problem_code: str, message: str) -> bool:
    """Whether a code of structure was given for something that only the meaning of names can tell."""
    return problem_code == "SP402" and "is no stage, setback or exit" in message


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_schema_and_parser_agree_on_the_structure_of_any_file(file: dict[str, Any]) -> None:
    found = parse_journey(json.dumps(file), "j.yaml").problems
    faults = [str(p) for p in found if p.code.id in STRUCTURE and not meaningless(p.code.id, p.message)]
    errors = [error.message for error in CHECK.iter_errors(file)]
    assert bool(faults) == bool(errors), (faults, errors)
