"""The list of providers."""

from __future__ import annotations

from stagepost import events, settings
from stagepost.normalise import PROVIDERS


def test_every_list_of_providers_names_the_same() -> None:
    assert set(PROVIDERS) == events.PROVIDERS
    assert tuple(sorted(PROVIDERS)) == settings.PROVIDERS


def test_a_provider_is_found_under_its_own_name() -> None:
    assert [provider.name for provider in PROVIDERS.values()] == list(PROVIDERS)
