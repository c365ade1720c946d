"""E-mail addresses: as sent, normalised, and as the keyed hash that stands for a contact (providers.md 4.2, 5.6)."""

from __future__ import annotations

import hmac
import re
import unicodedata
from email.utils import parseaddr
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

import idna

_BLANK = re.compile(r"[\s\x00]")

_PLAIN = re.compile(r"[!-;=-~]+@[a-z0-9._-]*[a-z0-9_-]", re.ASCII)
"""An address that is normalised already, as nearly all are: asked first."""

_LIMIT = 1_000
"""Characters; an address has at most 320."""


def normalised(value: Any) -> str | None:
    """NFC, domain in lower case and punycode, local part untouched; of ``Name <a@b>`` the address. None: no address."""
    return _normalised(value) if isinstance(value, str) and len(value) <= _LIMIT else None


@lru_cache(maxsize=4096)
def _normalised(value: str) -> str | None:
    """Kept for a while: what is sent to somebody is soon delivered to them."""
    if _PLAIN.fullmatch(value) is not None:
        return value
    address = value.strip()
    if "<" in address:
        # What stands before the brackets may be a name with a comma that nobody quoted, which parseaddr takes for two.
        address = parseaddr(address)[1] if not address.endswith(">") else address[address.rindex("<") + 1 : -1].strip()
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or _BLANK.search(address) is not None:
        return None
    return f"{local}@{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    folded = domain.lower().rstrip(".")
    if folded.isascii():
        return folded
    try:
        # Not Python's own codec: that is of 2003, in which straße.de and strasse.de are one domain.
        return idna.encode(folded, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return folded


def domain_of(value: Any) -> str | None:
    """The domain of an address, normalised."""
    address = normalised(value)
    return address.rpartition("@")[2] if address is not None else None


def hashed(address: str, tenant_key: bytes) -> str:
    """``h:`` and 32 hex digits of HMAC-SHA-256 over the lower-cased address: without the key it cannot be guessed."""
    digest = hmac.digest(tenant_key, address.lower().encode("utf-8", "surrogatepass"), "sha256")
    return "h:" + digest.hex()[:32]


def truncated_ip(value: Any) -> str | None:
    """``192.0.2.0/24`` or ``2001:db8:1::/48``: enough to see a network, not a person."""
    return _truncated(value) if isinstance(value, str) and len(value) <= 64 else None


@lru_cache(maxsize=4096)
def _truncated(text: str) -> str | None:
    """Kept for a while: gateways and proxies come again and again, and parsing takes 25 us."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return str(ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False))
