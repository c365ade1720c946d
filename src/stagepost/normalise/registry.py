"""The providers that can be read. Adding one: a file with a table and ``read``, a line here, payloads in the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from stagepost.normalise import postmark, sendgrid
from stagepost.normalise.facts import Facts
from stagepost.normalise.signatures import Check

Read = Callable[[Mapping[str, Any], Mapping[str, str]], list[Facts] | None]
"""(one part, request headers) to facts, one for each recipient; an empty list where there is nothing to tell, None for
an object that says no type. Raises nothing."""


class Provider(Struct, frozen=True):
    """How one provider's posts are read, and how a signature is checked."""

    name: str
    read: Read
    check: Check


PROVIDERS: Mapping[str, Provider] = {
    module.NAME: Provider(module.NAME, module.read, module.check) for module in (postmark, sendgrid)
}
