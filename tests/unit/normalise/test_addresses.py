"""Addresses: what is one and what stands for it."""

from __future__ import annotations

import pytest

from stagepost.normalise.addresses import normalised


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("Ann@Example.COM", "Ann@example.com"),
        ("Ann <ann@example.com>", "ann@example.com"),
        ("Doe, Ann <ann@example.com>", "ann@example.com"),
        ('"Doe, Ann" <ann@example.com>', "ann@example.com"),
        (" <ann@example.com> ", "ann@example.com"),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@BU\u0308CHER.example.", "ann@xn--bcher-kva.example"),
        ("ann@stra\u00dfe.example", "ann@xn--strae-oqa.example"),
        ("ann@strasse.example", "ann@strasse.example"),
        ("ann@mail_1.example", "ann@mail_1.example"),
        ("ann", None),
        ("ann@", None),
        ("@example.com", None),
        ("ann smith@example.com", None),
        ("Ann <ann smith@example.com>", None),
        ("Ann <>", None),
    ],
)
def test_an_address_is_normalised(sent: str, address: str | None) -> None:
    assert normalised(sent) == address


def test_a_domain_that_is_none_stays_as_it_is() -> None:
    assert normalised("ann@\u2665\u2665" + "x" * 80 + ".example") == "ann@\u2665\u2665" + "x" * 80 + ".example"
