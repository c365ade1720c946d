"""YAML 1.2 text to a tree of nodes that know where they stand. Bounded before, while and after it is read.

May not contain: any word of the journey language (``parse.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import RoundTripScanner

from stagepost.journey.definition import Position
from stagepost.journey.problems import DUPLICATE_KEY, NOT_YAML, TOO_LARGE, Code

SIZE_LIMIT = 1 << 20
"""Characters of one file."""

VALUE_LIMIT = 20_000
"""Values of one file, each use of an anchor counted: a few lines of aliases can stand for billions."""

DEPTH_LIMIT = 32

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character. An escape can make one; no output could be written with it."""

_TEXT, _INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null"))
_TAGS = {_TEXT, _INT, _FLOAT, _BOOL, _NULL, *(f"tag:yaml.org,2002:{t}" for t in ("map", "seq", "timestamp", "merge"))}
"""What values are by themselves."""

_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
    r"|\.(nan|NaN|NAN)"
)
"""A number of the core schema (YAML 1.2.2, 10.3.2); ruamel.yaml takes 1_000 and 0b11 for numbers too."""

_HINTS = (
    ("undefined alias", "a text that begins with * needs quotes"),
    ("mapping values are not allowed", "a text that holds ': ' needs quotes, or the line is indented wrongly"),
    ("character '\\t'", "indent with blanks, not with tabs"),
    ("cannot start any token", "a text that begins with such a character needs quotes"),
    ("expected <block end>", "entries of one list or mapping begin in the same column"),
    ("did not find expected", "entries of one list or mapping begin in the same column"),
    ("but got '<stream end>'", "the bracket is not closed"),
    ("expected ',' or", "commas go between entries, quotes around texts that hold , : { } [ ]"),
    ("while scanning a quoted scalar", "the quotes are not closed"),
)
"""What is mostly wrong when the reader of YAML says so."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar; ``text`` is what stands in the file."""

    value: Scalar
    text: str
    position: Position


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Tree, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Pairs:
    """A mapping from text to values, in order; every key stands once."""

    pairs: tuple[tuple[Value, Tree], ...]
    position: Position

    def get(self, key: str) -> Tree | None:
        return next((tree for name, tree in self.pairs if name.text == key), None)

    def key(self, key: str) -> Value | None:
        return next((name for name, _ in self.pairs if name.text == key), None)


Tree = Value | Items | Pairs


class Unreadable(Exception):
    """The text is no tree within the bounds; carries what a Problem needs."""

    def __init__(self, code: Code, message: str, position: Position) -> None:
        super().__init__(message)
        self.code, self.message, self.position = code, message, position


def read_yaml(text: str) -> Tree | None:
    """The tree of the one document in ``text``; None when there is none. Raises Unreadable."""
    if len(text) > SIZE_LIMIT:
        raise Unreadable(TOO_LARGE, f"the file has more than {SIZE_LIMIT} characters", Position(1, 1))
    yaml = YAML(pure=True)
    yaml.Composer = _Bounded
    yaml.Scanner = _OneVersion
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        told = " ".join(filter(None, [error.context, error.problem]))
        hint = next((f": {hint}" for words, hint in _HINTS if words in told), "")
        raise Unreadable(NOT_YAML, f"{told}{hint}", _place_of(error, text)) from error
    except ReaderError as error:
        told = f"character U+{error.character:04X}, which YAML does not allow"
        raise Unreadable(NOT_YAML, told, end_of(text[: error.position])) from error
    except (YAMLError, ValueError, AttributeError, IndexError, KeyError, TypeError, AssertionError) as error:
        # ruamel.yaml raises its own bugs on broken directives and anchors; whatever it is, the file is at fault.
        raise Unreadable(NOT_YAML, str(error).split("\n", 1)[0] or "cannot be read", Position(1, 1)) from error
    return None if node is None else _Builder().build(node, 1)


def end_of(text: str) -> Position:
    """Line and column behind the last character."""
    lines = re.split("\r\n|\n|\r", text)
    return Position(len(lines), len(lines[-1]) + 1)


def _place_of(error: MarkedYAMLError, text: str) -> Position:
    """Where the fault is; of what is never closed, where it begins or the text ends: blank lines help nobody."""
    marks = [error.problem_mark, error.context_mark]
    if error.problem is not None and ("end of stream" in error.problem or "<stream end>" in error.problem):
        marks.reverse()
    mark, last = marks[0] or marks[1], end_of(text.rstrip())
    place = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
    return place if place.line <= last.line else last


class _OneVersion(RoundTripScanner):
    """Stops at a directive of another version: it would make numbers of ``14:30`` and booleans of ``on`` and ``no``."""

    def scan_yaml_directive_value(self, start_mark: Any) -> Any:
        version = super().scan_yaml_directive_value(start_mark)
        if version != (1, 2):
            told = f"journey files are YAML 1.2: leave out %YAML {'.'.join(map(str, version))}"
            raise Unreadable(NOT_YAML, told, Position(start_mark.line + 1, start_mark.column + 1))
        return version


class _Bounded(Composer):
    """Stops at the first value too many or too deep: reading on to the end of a large file would take a minute."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # an anchor may be given anew, YAML 1.2 says
        self._left = VALUE_LIMIT

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._left -= 1
        if self._left < 0 or self.depth >= DEPTH_LIMIT:
            mark = self.parser.peek_event().start_mark
            place = Position(mark.line + 1, mark.column + 1)
            if self._left < 0:
                raise Unreadable(TOO_LARGE, f"more than {VALUE_LIMIT} values", place)
            raise Unreadable(TOO_LARGE, f"nested deeper than {DEPTH_LIMIT}", place)
        return super().compose_node(parent, index)


class _Builder:
    def __init__(self) -> None:
        self._left = VALUE_LIMIT

    def build(self, node: Node, depth: int) -> Tree:
        place = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        self._left -= 1
        if self._left < 0:
            raise Unreadable(TOO_LARGE, f"more than {VALUE_LIMIT} values, anchors expanded", place)
        if depth > DEPTH_LIMIT:
            raise Unreadable(TOO_LARGE, f"nested deeper than {DEPTH_LIMIT}", place)
        if str(node.tag) not in _TAGS:
            raise Unreadable(NOT_YAML, f"the tag {node.tag} means nothing here: leave it out", place)
        if isinstance(node, ScalarNode):
            text = _whole(str(node.value), place)
            return Value(_scalar(str(node.tag), text, place), text, place)
        if isinstance(node, SequenceNode):
            return Items(tuple(self.build(item, depth + 1) for item in node.value), place)
        if isinstance(node, MappingNode):
            return Pairs(tuple(self._pairs(node, depth)), place)
        raise Unreadable(NOT_YAML, "neither text, list nor mapping", place)

    def _pairs(self, node: MappingNode, depth: int) -> list[tuple[Value, Tree]]:
        seen: dict[str, Position] = {}
        pairs = []
        for key_node, value_node in node.value:
            key = self.build(key_node, depth + 1)
            if not isinstance(key, Value):
                raise Unreadable(NOT_YAML, "a key must be text", key.position)
            if key.text in seen:
                first = seen[key.text]
                raise Unreadable(DUPLICATE_KEY, f"{key.text!r} stands already in line {first.line}", key.position)
            seen[key.text] = key.position
            value = self.build(value_node, depth + 1)
            if isinstance(value, Value) and not value.text and value_node.style is None:
                value = replace(value, position=key.position)  # nothing stands at the key, and the next token is far
            pairs.append((key, value))
        return pairs


def _whole(text: str, place: Position) -> str:
    """The text with characters that JSON escapes in two halves put together."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Unreadable(NOT_YAML, "half of a character (\\ud800 to \\udfff)", place) from None


def _scalar(tag: str, text: str, place: Position) -> Scalar:
    if tag in (_INT, _FLOAT) and _NUMBER.fullmatch(text):
        try:
            return _integer(text) if tag == _INT else _float(text)
        except ValueError:
            raise Unreadable(NOT_YAML, "a number that cannot be read", place) from None
    if tag == _BOOL:
        return text.lower() == "true"
    if tag == _NULL:
        return None
    return text


def _integer(text: str) -> int:
    if len(text) > 40:
        raise ValueError("too many digits")
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
