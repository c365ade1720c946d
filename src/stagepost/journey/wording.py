"""Conditions in words: labels of ``graph``, lines of ``explain``: short enough for an arrow, and exact enough to check.

Uses the words of the file, so that a reader finds the rule again. May not contain: line breaks, markup.
"""

from __future__ import annotations

from stagepost.journey.definition import (
    After,
    AllOf,
    AnyOf,
    Clicked,
    Condition,
    Counting,
    EventIs,
    Missed,
    NoClick,
    Not,
    Opened,
    Quiet,
    ScopePattern,
    Stuck,
    Subscribed,
    Unsubscribed,
)
from stagepost.journey.definition import Test as FieldTest
from stagepost.journey.durations import duration_text

_SIGNS = {"eq": "=", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def words_of(condition: Condition) -> str:
    """One condition on one line.

    >>> words_of(Clicked(("pricing",), counting=Counting(3, 7 * 86_400_000_000, True)))
    'clicked pricing, 3 times within 1w, per campaign'
    >>> words_of(AnyOf((EventIs("order.completed"), Not(Unsubscribed(ScopePattern("all"))))))
    'order.completed or not unsubscribed all'
    """
    if isinstance(condition, AnyOf):
        return " or ".join(_nested(part) for part in condition.parts)
    if isinstance(condition, AllOf):
        return " and ".join(_nested(part) for part in condition.parts)
    if isinstance(condition, Not):
        return f"not {_nested(condition.part)}"
    if isinstance(condition, NoClick):
        counted = "sends" if condition.count == "delivered" else "sends, delivered or not"
        return f"no click in {condition.sends} {counted}, {duration_text(condition.grace)} grace"
    if isinstance(condition, Quiet):
        return f"quiet for {duration_text(condition.span)}" + (", opens count" if condition.opens else "")
    if isinstance(condition, Missed):
        return (
            f"{_nested(condition.first)} and then no {_nested(condition.then)} within {duration_text(condition.within)}"
        )
    if isinstance(condition, Stuck):
        return f"stuck for {duration_text(condition.span)}"
    if isinstance(condition, After):
        return f"{duration_text(condition.span)} after the run began"
    if isinstance(condition, Unsubscribed):
        return f"unsubscribed {scope_words(condition.scopes)}" + _send(condition.after_send, condition.campaign)
    return _head(condition) + _options(condition)


_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(n: int) -> str:
    """
    >>> ordinal(3), ordinal(11), ordinal(22)
    ('third', '11th', '22nd')
    """
    if n < len(_ORDINALS):
        return _ORDINALS[n]
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{suffix}"


def _nested(condition: Condition) -> str:
    """In brackets where it would be read differently without."""
    text = words_of(condition)
    return f"({text})" if isinstance(condition, AnyOf | AllOf | Missed) or ", " in text else text


def _head(condition: EventIs | Clicked | Opened | Subscribed) -> str:
    if isinstance(condition, EventIs):
        return condition.type
    if isinstance(condition, Opened):
        return "opened any"
    if isinstance(condition, Subscribed):
        return f"subscribed {scope_words(condition.scopes)}"
    return f"clicked {'any' if condition.links is None else ' or '.join(condition.links)}"


def _options(condition: EventIs | Clicked | Opened | Subscribed) -> str:
    where = "".join(f"{' where' if not i else ' and'} {words_of_test(test)}" for i, test in enumerate(condition.where))
    return where + _send(condition.after_send, condition.campaign) + _counting(condition.counting)


def _send(after_send: int | None, campaign: str | None) -> str:
    """``campaign`` beside ``after_send`` names the send, else it is that of the event."""
    if after_send is None:
        return f", campaign {campaign}" if campaign is not None else ""
    return f", within {duration_text(after_send)} after a send" + (f" of {campaign}" if campaign is not None else "")


def _counting(counting: Counting) -> str:
    if counting == Counting():
        return ""
    times = f", {counting.times} time{'s' if counting.times > 1 else ''}"
    within = f" within {duration_text(counting.within)}" if counting.within is not None else ""
    return times + within + (", per campaign" if counting.per_campaign else "")


def words_of_test(test: FieldTest) -> str:
    """One test of ``where``."""
    if isinstance(test.value, tuple):
        return f"{test.path} in {', '.join(map(_value, test.value))}"
    if test.operator == "exists":
        return f"{test.path} {'exists' if test.value else 'is missing'}"
    return f"{test.path} {_SIGNS.get(test.operator, test.operator)} {_value(test.value)}"


def _value(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def scope_words(pattern: ScopePattern) -> str:
    """Which subscription scopes are meant."""
    if pattern.reach != "scope":
        return pattern.reach
    return f"{pattern.scope}:{pattern.id}" if pattern.scope is not None else str(pattern.id)
