"""Who may see the status: private addresses, and whoever shows the token.

A program sends the token as ``Authorization: Bearer TOKEN``. A person opens ``/?token=TOKEN`` once; the browser then
keeps a cookie. Cookies belong to a host and not to a port (RFC 6265, section 8.5), so that other programs of this
host get to see them: the cookie holds a value made from the token, not the token.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address, ip_address
from typing import Final

COOKIE: Final = "ratbond"
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")

REFUSAL: Final = (
    "403: ratbond shows its status to private addresses only, and {source}. "
    "Ask from the machine itself, from its LAN or through the tunnel{or_token}.\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides; the names of headers are in lower case."""

    source: str
    headers: Mapping[str, str]
    token: str | None = None  # of the query


class Access:
    """Decides who may see the status; ``token`` opens it to public addresses."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None
        self.cookie = hmac.digest(self._token, b"ratbond status", "sha256").hex() if self._token else ""

    def refusal(self, asked: Asked) -> str | None:
        """Why the request is refused; None when it is not."""
        if not is_public(asked.source) and not any(name in asked.headers for name in _FORWARDED):
            return None
        if self.knows_token(asked):
            return None
        whose = f"{asked.source or 'yours'} is a public one"
        if not is_public(asked.source):
            whose = f"{asked.source} is a proxy that asks for somebody else"
        or_token = ", or show the token: open /?token=TOKEN" if self._token else ""
        return REFUSAL.format(source=whose, or_token=or_token)

    def knows_token(self, asked: Asked) -> bool:
        """Whether the request shows the token in its query, as a bearer, or by its cookie. In constant time."""
        if self._token is None:
            return False
        kind, _, bearer = asked.headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if kind.lower() == "bearer" else ""
        by_token = _same(asked.token or "", self._token)
        by_bearer = _same(shown, self._token)
        by_cookie = _same(_cookie(asked.headers.get("cookie", "")), self.cookie.encode())
        return by_token or by_bearer or by_cookie


def is_public(source: str) -> bool:
    """Whether an address belongs to the open Internet; what is no address at all counts as public."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_global


def _same(shown: str, right: bytes) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), right)


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
