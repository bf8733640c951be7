"""The clients file as data: validated, whole, and with errors that name client, key and what is allowed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from ratbond.config import Forwards, parse_network
from ratbond.errors import UsageError
from ratbond.forward import PortForward, clash, with_targets
from ratbond.models import HostPort, IPNetwork, parse_rate
from ratbond.secret import is_key

DEFAULT_POOL: Final = "10.66.0.0/16"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def _parse_name(value: object) -> object:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r}: a name has 1 to 32 letters, digits, dots, dashes and underscores")
    return value


def _parse_key(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not is_key(text):
        raise ValueError("a key has 64 hex digits")
    return value.lower() if isinstance(value, str) else value


def _parse_rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _parse_lan(value: object) -> object:
    if not isinstance(value, (list, tuple)):
        raise ValueError('write a list of networks, such as ["192.168.7.0/24"]')  # noqa: TRY004 (pydantic wants it)
    try:
        return tuple(ip_network(item) for item in value)
    except ValueError as error:
        raise ValueError(f"{error}; write networks such as 192.168.7.0/24") from None


def _parse_host_port(value: object) -> object:
    return HostPort.parse(value) if isinstance(value, str) else value


def _parse_pool(value: object) -> object:
    try:
        network = ip_network(str(value))
    except ValueError as error:
        raise ValueError(f"{error}; write a network such as {DEFAULT_POOL}") from None
    longest = 30 if network.version == 4 else 64
    if network.prefixlen > longest:
        raise ValueError(f"{network} holds no client: write a /{longest} or a larger network")
    return network


Name = Annotated[str, BeforeValidator(_parse_name)]
PublicKey = Annotated[str, BeforeValidator(_parse_key)]
PrivateKey = Annotated[SecretStr, BeforeValidator(_parse_key)]
Rate = Annotated[int, BeforeValidator(_parse_rate)]
Lan = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_parse_lan)]

_STRICT: Final = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ServerEntry(BaseModel):
    """``[server]``: what all clients share."""

    model_config = _STRICT

    private_key: PrivateKey
    address: Annotated[HostPort | None, BeforeValidator(_parse_host_port)] = (
        None  # where clients find the server
    )
    pool: Annotated[IPv4Network, BeforeValidator(_parse_pool)] = IPv4Network(DEFAULT_POOL)
    pool6: Annotated[IPv6Network | None, BeforeValidator(_parse_pool)] = None


class ClientEntry(BaseModel):
    """``[[client]]``: one client. ``up`` and ``down`` are caps in bit/s, as the client sees them."""

    model_config = _STRICT

    name: Name
    tunnel_id: int = Field(ge=1, le=65_525)
    public_key: PublicKey
    psk: PrivateKey
    ip: Annotated[IPv4Network, parse_network(4, 30, "10.66.0.0/30")]
    ip6: Annotated[IPv6Network | None, parse_network(6, 126, "fd00::/126")] = None
    lan: Lan = ()
    forward: Forwards = ()
    up: Rate | None = None
    down: Rate | None = None
    client_to_client: bool = False
    revoked: bool = False

    @property
    def behind(self) -> tuple[IPNetwork, ...]:
        """What is routed to the client: its LAN, and the targets of forwards that are not the client itself."""
        inside = tuple(network for network in (self.ip, self.ip6) if network)
        others = [f for f in self.forward if not any(f.target in network for network in inside)]
        return with_targets(self.lan, others)

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """All inner networks that are this client's."""
        return (self.ip, *((self.ip6,) if self.ip6 else ()), *self.behind)


class Clients(BaseModel):
    """The whole file."""

    model_config = _STRICT

    server: ServerEntry
    client: tuple[ClientEntry, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what in ("name", "tunnel_id", "public_key"):
            _refuse_twins(what, ((getattr(entry, what), entry.name) for entry in self.client))
        _refuse_overlaps((network, entry.name) for entry in self.client for network in entry.networks)
        _refuse_clash({forward: entry.name for entry in self.client for forward in entry.forward})
        return self

    def by_session(self) -> dict[int, ClientEntry]:
        """The clients by the engine's number of their session, which is the tunnel-id."""
        return {entry.tunnel_id: entry for entry in self.client}

    def named(self, name: str) -> ClientEntry | None:
        """The client of a name."""
        return next((entry for entry in self.client if entry.name == name), None)


def parse(data: dict[str, Any], source: str) -> Clients:
    """Validates a file's content. Raises UsageError with one line that begins with ``source``."""
    try:
        return Clients.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{source}: {_one_line(error, data)}") from None


def _one_line(error: ValidationError, data: dict[str, Any]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = list(first["loc"])
    where = []
    if place[:1] == ["client"] and len(place) > 1 and isinstance(place[1], int):
        entry = data["client"][place[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        where.append(f"client {name if isinstance(name, str) else f'number {place[1] + 1}'}")
        place = place[2:]
    where += [str(step) for step in place[:2]]
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such key; docs/clients.md lists them"
    elif first["type"] == "missing":
        message = "is missing"
    return ": ".join((*where, message))


def _refuse_twins(what: str, values: Iterable[tuple[object, str]]) -> None:
    seen: dict[object, str] = {}
    for value, name in values:
        if value in seen:
            raise ValueError(f"clients {seen[value]} and {name} have the same {what}; give each its own")
        seen[value] = name


def _refuse_clash(owners: Mapping[PortForward, str]) -> None:
    twins = clash(owners)
    if twins:
        one, other = twins
        raise ValueError(
            f'"{one}" of client {owners[one]} and "{other}" of client {owners[other]} take the same port; '
            "give one of them another"
        )


def _refuse_overlaps(networks: Iterator[tuple[IPNetwork, str]]) -> None:
    ordered = sorted(
        networks, key=lambda item: (item[0].version, int(item[0].network_address), item[0].prefixlen)
    )
    for (one, owner), (other, other_owner) in itertools.pairwise(ordered):
        if one.version == other.version and other.network_address in one:
            raise ValueError(f"{one} of client {owner} and {other} of client {other_owner} overlap")
