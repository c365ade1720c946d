"""What a contact has withdrawn and allowed: the register of subscription scopes, and consent by purpose.

Law: per scope and id, and per purpose, the newest word by its own time decides; of equal times the one that arrived
last. ``contact.subscribed`` gives back scopes ``all`` and ``domain``. What ``method: api`` gives back is one account's
account of itself (a snapshot, an import): it undoes only what that account had reported. May not contain: what a
withdrawal moves.

The functions here change the ContactState they are given: the caller hands in its own copy (``state.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from stagepost.events import Event, stable_id
from stagepost.journey.definition import Consent, ScopePattern
from stagepost.journey.sends import last_delivery
from stagepost.journey.state import PURPOSES, SCOPES, ContactState, Grant, Withdrawal
from stagepost.journey.where import TextMatcher, compile_glob, lookup

LISTED = frozenset({"list", "group", "stream", "topic", "tag"})
"""Scopes with an id that a condition can name."""

GLOBAL = frozenset({"all", "domain"})
"""Scopes that mean all mail; a withdrawal without scope means ``all``."""

TEXT_LIMIT = 256
"""Characters of a scope id or purpose that are remembered; providers' ids are far shorter."""

_OF = "\x00"
"""Before the account in a key of the register: ``scope``, ``scope:id``, either with the tag of who reported it."""

ACCOUNT_TAG = 8
"""Hex digits that stand for a provider's account; a contact has few."""

ScopeMatcher = Callable[[str, str], bool]
"""(scope, id or empty) -> whether a condition speaks of it."""


def scope_of(event: Event) -> tuple[str, str]:
    """Scope and id of a withdrawal or re-subscription."""
    if event.type == "contact.subscribed" or not event.scope:
        return "all", ""
    id_ = event.scope_id
    return event.scope[:TEXT_LIMIT], id_[:TEXT_LIMIT].replace(_OF, "") if id_ else ""


def compile_scopes(pattern: ScopePattern) -> ScopeMatcher:
    """Whether a scope is meant; a plain id glob means any listed scope with that id."""
    if pattern.reach == "any":
        return lambda scope, id_: True
    if pattern.reach == "all":
        return lambda scope, id_: scope in GLOBAL
    named = pattern.scope
    names = compile_glob(pattern.id) if pattern.id is not None else None

    def matches(scope: str, id_: str) -> bool:
        if scope not in LISTED if named is None else scope != named:
            return False
        return names is None or names(id_)

    return matches


def any_withdrawn(
    register: dict[str, Withdrawal], covers: ScopeMatcher, span: int | None, names: TextMatcher | None
) -> bool:
    """Whether a withdrawal that ``covers`` means is in force; with ``span`` one that came so soon after a send."""
    for key, word in register.items():
        if not word.in_force:
            continue
        scope, _, id_ = _spoken_of(key).partition(":")
        if not covers(scope, id_):
            continue
        if span is None:
            return True
        soon = word.send_at > 0 and word.at - word.send_at < span
        if soon and (names is None or (word.send_campaign is not None and names(word.send_campaign))):
            return True
    return False


def withdrawals(register: dict[str, Withdrawal], covers: ScopeMatcher) -> list[tuple[str, int]]:
    """The scopes that ``covers`` means and that are withdrawn now, with their ids, and since when; the newest last."""
    found: dict[str, int] = {}
    for key, word in register.items():
        spoken = _spoken_of(key)
        scope, _, id_ = spoken.partition(":")
        if word.in_force and covers(scope, id_):
            found[spoken] = max(word.at, found.get(spoken, word.at))
    return sorted(found.items(), key=lambda pair: (pair[1], pair[0]))


def still_withdrawn(event: Event, state: ContactState) -> bool:
    """Whether the withdrawal in ``event`` was not overtaken by a newer word on its scope."""
    return _in_force(state, _key(*scope_of(event)))


def withdraw(state: ContactState, event: Event, at: int) -> bool:
    """Record ``email.unsubscribed``; True when the contact is newly withdrawn in that scope."""
    scope, id_ = scope_of(event)
    whole = _key(scope, id_)
    own = whole + _account(event)
    for key in {own, whole}:
        known = state.register.get(key)
        if known is not None and known.at > at and (key == own or not known.in_force):
            return False
    send = last_delivery(state, at) or (0, None)
    overtaken = scope in GLOBAL and state.subscribed > at
    already = _in_force(state, whole)
    _write(state, own, Withdrawal(at, not overtaken, *send))
    return not (overtaken or already)


def give_back(state: ContactState, event: Event, at: int) -> None:
    """Record a re-subscription: exactly its scope and id; ``contact.subscribed`` gives back all mail."""
    if event.type == "contact.subscribed":
        state.subscribed = max(state.subscribed, at)
        keys = [key for key in state.register if _spoken_of(key).partition(":")[0] in GLOBAL]
    else:
        whole = _key(*scope_of(event))
        if event.method == "api" and event.account is not None:
            keys = [whole + _account(event)]
        else:
            keys = [whole]
            # The word for the whole scope says all that these would say.
            overtaken = [key for key, word in state.register.items() if _by(key, whole) and word.at <= at]
            state.register = {key: word for key, word in state.register.items() if key not in overtaken}
    for key in keys:
        known = state.register.get(key)
        if known is None or known.at <= at:
            _write(state, key, Withdrawal(at, False))


def _in_force(state: ContactState, whole: str) -> bool:
    return any(word.in_force for key, word in state.register.items() if _spoken_of(key) == whole)


def _key(scope: str, id_: str) -> str:
    return f"{scope}:{id_}" if id_ else scope


def _account(event: Event) -> str:
    """What follows the scope in the key of an account's own word; nothing where no account reported it."""
    if event.account is None:
        return _OF
    return _OF + stable_id(event.provider or "", event.account)[:ACCOUNT_TAG]


def _spoken_of(key: str) -> str:
    """The scope, with its id, that a key of the register is about."""
    return key.partition(_OF)[0]


def _by(key: str, whole: str) -> bool:
    """Whether a key is one account's word on a scope, not the word for the whole of it."""
    return key != whole and _spoken_of(key) == whole


def _write(state: ContactState, key: str, word: Withdrawal) -> None:
    register = {**state.register, key: word}
    if len(register) > SCOPES:
        # What was given back is the smaller loss; of withdrawals the oldest, and those from all mail last.
        oldest = min(
            (k for k in register if k != key),
            key=lambda k: (register[k].in_force, _spoken_of(k).partition(":")[0] in GLOBAL, register[k].at, k),
        )
        del register[oldest]
    state.register = register


def record_consent(state: ContactState, event: Event, at: int) -> tuple[str, ...]:
    """Record ``contact.consent_given`` or ``_withdrawn``; returns the purposes on which it is now the newest word.

    Without a purpose it speaks of all: then ``""`` is among them, which stands for every purpose not named so far.
    """
    given = event.type == "contact.consent_given"
    purpose = lookup(event, "purpose")
    if purpose is not None and not isinstance(purpose, str):
        if given:
            return ()  # consent to something that is no name is consent to nothing; a withdrawal is taken to mean all
        purpose = None
    consents = dict(state.consents)
    if purpose:
        purpose = purpose[:TEXT_LIMIT]
        if purpose not in consents and len(consents) > PURPOSES:
            return ()
        touched = [purpose]
    else:
        touched = ["", *(known for known in consents if known)]
    newest = []
    for name in touched:
        known = consents.get(name) or consents.get("")
        if known is None or known.at <= at:
            newest.append(name)
        consents[name] = _granted(known, given, at)
    state.consents = consents
    return tuple(newest)


def _granted(known: Grant | None, given: bool, at: int) -> Grant:
    if known is None:
        return Grant(at, given, at, 0 if given else at)
    withdrawn = known.withdrawn if given else max(known.withdrawn, at)
    if known.at <= at:
        unbroken = given and known.given
        return Grant(at, given, known.since if unbroken else at, withdrawn)
    if not known.given:
        return Grant(known.at, False, known.since, withdrawn)
    if given:
        earlier = known.withdrawn < at < known.since
        return Grant(known.at, True, at if earlier else known.since, withdrawn)
    broken = at >= known.since
    return Grant(known.at, True, known.at if broken else known.since, withdrawn)


def consent_since(state: ContactState, consent: Consent | None) -> int:
    """Since when engagement may be kept: 0 for ever (or no consent is asked for), -1 it may not."""
    if consent is None:
        return 0
    known = state.consents.get(consent.purpose) or state.consents.get("")
    if known is None:
        return 0 if consent.default == "granted" else -1
    if not known.given:
        return -1
    return 0 if consent.default == "granted" and not known.withdrawn else known.since
