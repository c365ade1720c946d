"""Bodies to parts: JSON, JSON per line, concatenated JSON, forms; all bounded, in one pass, never raising."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost.events import Reason, Rejected
from stagepost.normalise.bodies import Form, form_of, json_parts, too_deep
from stagepost.normalise.limits import LIMITS


def parts(body: bytes) -> Any:
    """Parts with their rejections by reason; of a body rejected whole the reason."""
    found = json_parts(body)
    if isinstance(found, Rejected):
        return found.reason
    return [each.reason if isinstance(each, Rejected) else each for each in found]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', [{"a": 1}]),
        (b'[{"a": 1}, 2]', [{"a": 1}, 2]),
        (b'{"a": 1}\n{"a": 2}\r\n\n{"a": 3}', [{"a": 1}, {"a": 2}, {"a": 3}]),
        (b'{"a": 1}{"a": {"b": "}{"}}  {"a": 3}', [{"a": 1}, {"a": {"b": "}{"}}, {"a": 3}]),
        (b'{"a": 1}\n{"a": 2}{"a": 3}\n', [{"a": 1}, {"a": 2}, {"a": 3}]),
        (b'{\n  "a": 1\n}\n{\n  "a": 2\n}', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}\n{"a": \n{"a": 3}', [{"a": 1}, Reason.UNDECODABLE, {"a": 3}]),
        (b'{"a": 1}\n{"a": NaN}\n{"a": 1e400}', [{"a": 1}, Reason.UNDECODABLE, Reason.SCHEMA]),
        (b'{"a": 1}{"a":', [{"a": 1}, Reason.UNDECODABLE]),
        (b'{"a": 1}\nnot json', [{"a": 1}, Reason.UNDECODABLE]),
        (b'{"a": 1}\n{"a": "\xff"}', [{"a": 1}, Reason.UNDECODABLE]),
        (b'{"a": 1} not json', Reason.UNDECODABLE),
        (b'{"a": {"b": 1}, "c', Reason.UNDECODABLE),
        (b'{\n  "a": [\n    {"b": 1},\n', Reason.UNDECODABLE),
        (b'[{"a": 1},\r\n{"a": 2}\r\n', Reason.UNDECODABLE),
        (b'[{"a": 1}]\n[{"a": 2}]', Reason.UNDECODABLE),
        (b'[{"a": "\xff"}, {"b": 1}]', Reason.UNDECODABLE),
        (b"}{", Reason.UNDECODABLE),
    ],
)
def test_the_body_itself_tells_what_form_of_json_it_has(body: bytes, expected: Any) -> None:
    assert parts(body) == expected


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (b'{"a": 1e400}', Reason.SCHEMA),
        (b'{"a": -1e400}', Reason.SCHEMA),
        (b'{"a": ' + b"9" * 5_000 + b"}", Reason.SCHEMA),
        (b'{"a": 1e-400}', {"a": 0.0}),
        (b'{"a": "\\ud83d"}', {"a": "\ufffd"}),
        (b'{"a": "\\ude00x\\ud83d\\ude00"}', {"a": "\ufffdx\U0001f600"}),
        (b'{"a": "\\\\ud83d \\ud83d"}', {"a": "\\ud83d \ufffd"}),
    ],
)
def test_what_is_odd_in_one_element_leaves_its_neighbours_alone(element: bytes, expected: Any) -> None:
    assert parts(b'[{"b": 1}, ' + element + b', {"b": 2}]') == [{"b": 1}, expected, {"b": 2}]
    assert parts(element) == [expected]


def test_the_last_of_equal_keys_wins_and_integers_keep_their_digits() -> None:
    assert parts(b'{"a": 1, "a": 9007199254740993}') == [{"a": 9007199254740993}]
    assert parts(b"[" + b"9" * 400 + b"]") == [int("9" * 400)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}\n' * 10_001,
        b'{"a":1}' * 10_001,
        b"[" + b"1," * 10_000 + b"1]",
        b" " * LIMITS.body_bytes + b"{}",
        b'{"a":' * 33 + b"1" + b"}" * 33,
    ],
)
def test_more_parts_bytes_or_depth_than_allowed_is_oversize(body: bytes) -> None:
    assert parts(body) == Reason.OVERSIZE


def test_32_levels_are_read_and_brackets_in_strings_are_none() -> None:
    assert not too_deep(b'{"a":' * 32 + b"1" + b"}" * 32, 32)
    assert not too_deep(b'["' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"]', 32)
    assert too_deep(b'["\\"", ' + b"[" * 32, 32)


@pytest.mark.parametrize(
    "body",
    [
        b'\\"' * (LIMITS.body_bytes // 2),
        b'"' * LIMITS.body_bytes,
        b'{"' + b'\\"' * (LIMITS.body_bytes // 2 - 1),
        b"[]" * (LIMITS.body_bytes // 2),
    ],
)
def test_no_body_within_the_limit_takes_more_than_a_few_passes(body: bytes) -> None:
    begin = time.perf_counter()
    assert parts(body) == Reason.UNDECODABLE
    # Seconds, not the hours that trying every quotation mark again would take; generous, for a busy machine.
    assert time.perf_counter() - begin < 20


def fields(body: bytes, content_type: str = "") -> Any:
    found = form_of(body, content_type)
    return list(found.fields) if isinstance(found, Form) else found


def test_an_urlencoded_form_is_told_by_its_body_or_its_content_type() -> None:
    assert fields(b"a=1&b=%C3%BC+x&a=2&c&=&d=") == [
        (b"a", b"1"),
        (b"b", "ü x".encode()),
        (b"a", b"2"),
        (b"c", b""),
        (b"", b""),
        (b"d", b""),
    ]
    assert fields(b"lonely", "application/x-www-form-urlencoded; charset=utf-8") == [(b"lonely", b"")]
    assert fields(b"lonely") is None
    assert fields(b'{"a=": 1}', "application/x-www-form-urlencoded") is None
    assert fields(b"") is None


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_multipart_form_needs_no_header_and_its_files_are_left_out(end: bytes) -> None:
    body = end.join(
        [
            b"--b0",
            b'Content-Disposition: form-data; name="a"',
            b"",
            b"1",
            b"--b0",
            b'content-disposition: form-data; name="file"; filename="x.txt"',
            b"Content-Type: text/plain",
            b"",
            b"--b1",
            b"--b0",
            b"Content-Type: text/plain; charset=utf-8",
            b'Content-Disposition: form-data; name="b"',
            b"",
            "ü".encode(),
            b"--b0--",
            b"after",
        ]
    )
    assert fields(body) == [(b"a", b"1"), (b"b", "ü".encode())]


def test_forms_are_bounded() -> None:
    for body in (b"a=1&" * 10_001, b'--b\r\nname="a"\r\n\r\n1\r\n' * 10_002, b"a=" + b"x" * LIMITS.body_bytes):
        found = form_of(body)
        assert isinstance(found, Rejected) and found.reason == Reason.OVERSIZE


@given(st.binary(max_size=400) | st.text('{}[]"\\ua=&%-d8\r\n:,1e', max_size=200).map(str.encode), st.text(max_size=20))
def test_nothing_raises(body: bytes, content_type: str) -> None:
    for found in (json_parts(body), form_of(body, content_type), too_deep(body, 3)):
        assert isinstance(found, list | Rejected | Form | bool) or found is None


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3), min_size=2))
def test_lines_and_a_row_give_the_same_parts_as_an_array(objects: list[Any]) -> None:
    texts = [json.dumps(each).encode() for each in objects]
    assert parts(b"\n".join(texts)) == parts(b"".join(texts)) == parts(b"[" + b",".join(texts) + b"]")


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


awkward = st.text(st.sampled_from('{}[]"\\\\a/ü'), max_size=6)
nested = st.recursive(
    awkward | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(awkward, inner, max_size=3),
    max_leaves=60,
)


@given(nested, st.integers(1, 8), st.booleans())
def test_depth_is_counted_exactly_whatever_strings_hold(value: object, limit: int, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert (depth_of(value) > limit) == too_deep(text, limit)
    wrapped = json.dumps([value] * 40).encode()
    assert (depth_of(value) + 1 > limit) == too_deep(wrapped, limit)
