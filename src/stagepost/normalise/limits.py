"""How much of a post is read, and how much of it an event may hold (providers.md 5.3). May not contain: what is done
with what is beyond."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Beyond the first three a body is ``oversize``; what is beyond the others is cut and named in ``cut``."""

    body_bytes: int = 8 << 20
    """Ten times what SendGrid sends at most."""
    depth: int = 32
    parts: int = 10_000
    """An order of magnitude above the largest documented batch (1,000)."""
    metadata_keys: int = 50
    metadata_bytes: int = 8 * 1024
    tags: int = 50
    url_bytes: int = 8 * 1024
    string_bytes: int = 2 * 1024
    """Of every other string."""
    id_bytes: int = 256
    """Of the id of a contact or a campaign; a longer one counts as absent."""


LIMITS = Limits()

SHORT = 512
"""Characters of a string that is within every limit, whatever they are: it is not measured, and no setting of a limit
for strings, URLs or metadata goes below four times as many bytes."""
