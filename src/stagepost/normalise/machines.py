"""What one event alone tells of machines: provider flags and user agents (providers.md 4.3).

What needs history (``instant``, ``burst``) the journey worker judges. Suspicion never drops an event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from msgspec import Struct

_APPLE_PROXY = "Mozilla/5.0"
"""The whole user agent of Apple Mail Privacy Protection."""

_IMAGE_PROXIES = ("googleimageproxy", "yahoomailproxy")
"""They fetch when a person opens, mostly: not a verdict, only a kind."""

_SCANNERS = (
    # libraries that no person reads mail with
    "python-requests",
    "python-urllib",
    "aiohttp",
    "curl/",
    "wget/",
    "go-http-client",
    "java/",
    "okhttp",
    "apache-httpclient",
    "axios/",
    "node-fetch",
    "libwww-perl",
    "headlesschrome",
    "phantomjs",
    # gateways that give their name
    "barracuda",
    "mimecast",
    "proofpoint",
    "forcepoint",
    "trendmicro",
    "symantec",
    "ciscoemailsecurity",
    "bitdefender",
    "sophos",
    "safelinks",
    "urldefense",
)


_REMEMBERED = 512
"""Characters of a user agent; a longer one is nobody's and is looked at anew."""


class Verdict(Struct, frozen=True, gc=False):
    """``machine`` None: the event alone does not tell."""

    machine: bool | None = None
    kind: str | None = None
    reasons: tuple[str, ...] = ()


NO_VERDICT = Verdict()
"""Of what nobody did."""


def judge(user_agent: Any, *, is_open: bool, flag: bool | None = None, flag_kind: str | None = None) -> Verdict:
    """By the provider's ``flag`` (True: a machine of ``flag_kind``), then by the user agent."""
    if flag:
        return Verdict(True, flag_kind, ("provider_flag",))
    agent = user_agent.strip() if isinstance(user_agent, str) else ""
    if is_open and agent == _APPLE_PROXY:
        return Verdict(True, "privacy_proxy", ("ua_privacy_proxy",))
    kind = _kind_of(agent) if len(agent) <= _REMEMBERED else _kind_of.__wrapped__(agent)
    if kind == "scanner":
        return Verdict(True, kind, ("ua_scanner",))
    return Verdict(flag, kind)


@lru_cache(maxsize=1024)
def _kind_of(agent: str) -> str | None:
    """Kept for a while: a few hundred mail programs make most of all opens."""
    folded = agent.lower()
    if any(name in folded for name in _SCANNERS):
        return "scanner"
    return "image_proxy" if any(name in folded for name in _IMAGE_PROXIES) else None
