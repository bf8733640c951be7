"""What a tunnel is configured to be: validated, whole, and with errors that name the flag.

Values come from flags, then the environment, then (later) a file; :func:`merge` lays them over each other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from ratbond.errors import UsageError
from ratbond.invitation import Invitation
from ratbond.models import HostPort, WanSpec, is_device_name
from ratbond.secret import is_key

DEFAULT_TUNNEL_IP = "10.10.10.0/30"
DEFAULT_HTTP_LISTEN = "0.0.0.0:8091"
MIN_TOKEN_CHARS = 16
TUN_MTU_KCP = 1336  # stock's; the largest packet that one KCP segment of MTU 1360 carries
TUN_MTU_BOND = (
    1400  # with 58 bytes around it over IPv4, 78 over IPv6, it fits PPPoE and most providers' tunnels
)

_BALANCES = ("adaptive", "consistent", "roundrobin")
_MAX_SECRET_CHARS = 4_096
DEFAULT_CLIENTS_FILE = Path("/etc/ratbond/clients.toml")

ENVIRONMENT = {"RATBOND_SECRET": "secret", "RATBOND_JOIN": "join"}
_IDENTITIES = frozenset({"secret", "secret_file", "join", "join_file", "clients_file"})


class Role(StrEnum):
    """Which end of the tunnel."""

    CLIENT = "client"
    SERVER = "server"


class Host(StrEnum):
    """Which host of the /30 (/126) an end takes."""

    AUTO = "auto"  # as the peer needs it
    FIRST = "first"
    SECOND = "second"


def _parse_host_port(value: object) -> object:
    return HostPort.parse(value) if isinstance(value, str) else value


def _parse_http_listen(value: object) -> object:
    return None if value == "disable" else _parse_host_port(value)


def _parse_wans(value: object) -> object:
    return (
        tuple(WanSpec.parse(v) if isinstance(v, str) else v for v in value)
        if isinstance(value, (list, tuple))
        else value
    )


def _parse_device_name(value: object) -> object:
    if isinstance(value, str) and not is_device_name(value):
        raise ValueError(
            f"{value!r} cannot be an interface's name: 1 to 15 characters, no slash, colon or space"
        )
    return value


def parse_network(version: Literal[4, 6], prefix_length: int, example: str) -> BeforeValidator:
    """Reads a network of exactly this size."""

    def parse(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            network = IPv4Network(value, strict=False) if version == 4 else IPv6Network(value, strict=False)
        except ValueError:
            raise ValueError(
                f"{value!r} is not an IPv{version} network; write a /{prefix_length} such as {example}"
            ) from None
        if network.prefixlen != prefix_length:
            raise ValueError(
                f"{value!r} is a /{network.prefixlen}, but a tunnel has exactly two ends; "
                f"write a /{prefix_length} such as {example}"
            )
        return network

    return BeforeValidator(parse)


DeviceName = Annotated[str, BeforeValidator(_parse_device_name)]


class TunnelConfig(BaseModel):
    """What both ends have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    role: Role
    tunnel_id: int = Field(default=660, ge=1, le=65_525)  # conv = tunnel-id + 0..10 must fit LINKDOWN's u16
    tun_name: DeviceName | None = None
    tunnel_ip: Annotated[IPv4Network, parse_network(4, 30, DEFAULT_TUNNEL_IP)] = IPv4Network(
        DEFAULT_TUNNEL_IP
    )
    tunnel_ip6: Annotated[IPv6Network | None, parse_network(6, 126, "fd00::/126")] = None
    address: Host = Host.AUTO
    protocol: Literal["kcp", "bond"] | None = None
    aes: bool = False
    cipher: Literal["auto", "aes-256-gcm", "chacha20-poly1305"] = "auto"
    secret: SecretStr | None = None
    secret_file: Path | None = None
    balance_adaptive: bool = False
    balance_consistent: bool = False
    balance_roundrobin: bool = False
    nat: bool = False
    mux: int = Field(default=1, ge=1, le=11)  # convs of a tunnel: tunnel-id + 0..10
    http_listen_addr: Annotated[HostPort | None, BeforeValidator(_parse_http_listen)] = HostPort.parse(
        DEFAULT_HTTP_LISTEN
    )
    http_token_file: Path | None = None
    stats_interval: Annotated[float, Field(ge=0, le=86_400)] = 15.0
    debug: bool = False
    trace: bool = False
    nosyslog: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        balances = [name for name in _BALANCES if getattr(self, f"balance_{name}")]
        if len(balances) > 1:
            flags = " and ".join(f"--balance-{name}" for name in balances)
            raise ValueError(f"{flags} exclude each other: give one of them")
        if self.secret and self.secret_file:
            raise ValueError("--secret and --secret-file exclude each other: give the secret in one place")
        has_secret = self.has_secret
        if self.has_key_pair and (has_secret or self.aes or self.protocol == "kcp"):
            raise ValueError(
                "keys for each client (--clients-file, --join-file, RATBOND_JOIN) exclude a shared secret, --aes and "
                "--protocol kcp: leave one of them out"
            )
        if self.aes and not has_secret:
            raise ValueError(
                "--aes needs a secret: give --secret-file FILE, RATBOND_SECRET or --secret SECRET"
            )
        if self.aes and self.protocol == "bond":
            raise ValueError("--aes is the stock program's cipher: leave it out, or give --protocol kcp")
        if self.protocol == "bond" and not has_secret and not self.has_key_pair:
            raise ValueError(
                "--protocol bond needs a secret: make one with `ratbond keygen`, and give it to both ends with "
                "--secret-file FILE or RATBOND_SECRET; or give each client a key with `ratbond client add`"
            )
        if self.protocol == "kcp" and has_secret and not self.aes:
            raise ValueError(
                "--protocol kcp does not use a secret without --aes: add it, or leave out --protocol for sealed links"
            )
        if self.balance_adaptive and not self.sealed:
            raise ValueError(
                "--balance-adaptive needs sealed links, whose packets carry numbers: make a secret with "
                "`ratbond keygen`, and give it to both ends with --secret-file FILE, without --aes or --protocol kcp"
            )
        if self.cipher != "auto" and not self.sealed:
            raise ValueError(
                "--cipher is for sealed links: give a secret as well, and leave out --protocol kcp and --aes"
            )
        if self.sealed and self.mux > 1:
            raise ValueError(
                "--mux is for --protocol kcp: a sealed link is never held up by one conversation"
            )
        return self

    @property
    def sealed(self) -> bool:
        """Whether links are sealed, which a secret is for unless the stock program's cipher was asked for."""
        return (
            self.protocol == "bond"
            or self.has_key_pair
            or (self.protocol is None and self.has_secret and not self.aes)
        )

    @property
    def has_key_pair(self) -> bool:
        """Whether each client has a key of its own, and not one secret for all."""
        return False

    @property
    def link_protocol(self) -> Literal["kcp", "bond"]:
        """What the links speak."""
        return "bond" if self.sealed else "kcp"

    @property
    def tun_mtu(self) -> int:
        """The largest IP packet that the tunnel takes."""
        return TUN_MTU_BOND if self.sealed else TUN_MTU_KCP

    @cached_property
    def has_secret(self) -> bool:
        """Whether there is a secret, wherever it is."""
        return bool(self.passphrase())

    @cached_property
    def has_key(self) -> bool:
        """Whether the secret is a whole key, not a passphrase."""
        return is_key(self.passphrase() or "")

    @property
    def device(self) -> str:
        """The tun's name; a server's is always made from the tunnel-id."""
        return self.tun_name if self.tun_name and self.role is Role.CLIENT else f"tun{self.tunnel_id}"

    @property
    def scheduler(self) -> Literal["adaptive", "consistent", "roundrobin"]:
        """How packets are spread over the links."""
        if self.balance_roundrobin:
            return "roundrobin"
        return "adaptive" if self.sealed and not self.balance_consistent else "consistent"

    @property
    def network6(self) -> IPv6Network:
        """The tunnel's /126: a unique local one (RFC 4193) that both ends make from the tunnel-id when none is given."""
        return self.tunnel_ip6 or IPv6Network((0xFD72_6174_626F << 80 | self.tunnel_id << 64, 126))

    @property
    def http_is_default(self) -> bool:
        """Whether the status server's address was left as it is."""
        return "http_listen_addr" not in self.model_fields_set

    def passphrase(self) -> str | None:
        """The secret in the clear, from wherever it is; for the engine alone."""
        if self.secret:
            return self.secret.get_secret_value()
        return read_secret(self.secret_file) if self.secret_file else None

    def http_token(self) -> str | None:
        """What opens the status to public addresses. Raises UsageError with one line."""
        if self.http_token_file is None:
            return None
        token = read_secret(self.http_token_file, "--http-token-file")
        if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isalnum():
            raise UsageError(
                f"--http-token-file {self.http_token_file}: a token is at least {MIN_TOKEN_CHARS} letters and digits; "
                "`ratbond keygen` makes a good one"
            )
        return token


class ClientConfig(TunnelConfig):
    """The end that has the WAN links."""

    role: Literal[Role.CLIENT] = Role.CLIENT
    connect_addr: Annotated[HostPort, BeforeValidator(_parse_host_port)]
    wan: Annotated[tuple[WanSpec, ...], BeforeValidator(_parse_wans)] = ()
    no_wan: tuple[DeviceName, ...] = ()
    no_default_route: bool = False
    join: SecretStr | None = None
    join_file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _take_invitation(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What the line from `ratbond client add` says, where no flag says otherwise."""
        invitation = _invitation(given.get("join"), given.get("join_file"))
        if invitation is None:
            return given
        for name in ("tunnel_ip", "tunnel_ip6", "address"):
            if name in given:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{flag} is the server's to say for a client with a key of its own: leave it out"
                )
        return {"connect_addr": invitation.server, "tunnel_id": invitation.tunnel_id} | given

    @property
    def invitation(self) -> Invitation | None:
        """What the server's operator set this client up with."""
        return _invitation(self.join, self.join_file)

    @property
    def has_key_pair(self) -> bool:
        """Whether this client has a key of its own."""
        return self.join is not None or self.join_file is not None

    @model_validator(mode="after")
    def _check_wans(self) -> Self:
        for spec in self.wan:
            if spec.device in self.no_wan:
                raise ValueError(f"{spec.device} is both in --wan and in --no-wan: leave it out of one")
            if spec.device == self.device:
                raise ValueError(f"--wan {spec.device} is the tunnel itself: name the interface below it")
        return self


class ServerConfig(TunnelConfig):
    """The end with one public address."""

    role: Literal[Role.SERVER] = Role.SERVER
    listen_addr: Annotated[HostPort, BeforeValidator(_parse_host_port)] = HostPort("0.0.0.0", 12345)
    clients_file: Path | None = None

    @property
    def has_key_pair(self) -> bool:
        """Whether each client has a key of its own."""
        return self.clients_file is not None

    @model_validator(mode="after")
    def _check_clients(self) -> Self:
        for name in ("tunnel_id", "tunnel_ip", "tunnel_ip6", "address") if self.clients_file else ():
            if name in self.model_fields_set:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{flag} is each client's own: it stands in {self.clients_file}; leave it out, or serve one client "
                    "with --secret-file"
                )
        return self

    @model_validator(mode="after")
    def _check_listen(self) -> Self:
        if self.listen_addr.literal is None:
            raise ValueError(
                f"--listen-addr: {self.listen_addr.host!r} is a name; write an address, such as 0.0.0.0:12345"
            )
        return self


ConfigT = TypeVar("ConfigT", bound=TunnelConfig)


def merge(model: type[ConfigT], flags: Mapping[str, Any], environment: Mapping[str, str]) -> ConfigT:
    """Flags over environment over defaults. None means: not given. Raises UsageError with one line."""
    given = {name: value for name, value in flags.items() if value is not None}
    if not _IDENTITIES & given.keys():
        for variable, name in ENVIRONMENT.items():
            if environment.get(variable) and name in model.model_fields:
                given[name] = environment[variable]
    if _serves_known_clients(model, given):
        given["clients_file"] = DEFAULT_CLIENTS_FILE
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise UsageError(_one_line(error)) from None


def _serves_known_clients(model: type[TunnelConfig], given: Mapping[str, Any]) -> bool:
    """A server that is told of no other mode serves the clients that `ratbond client add` has made."""
    other_mode = _IDENTITIES & given.keys() or given.get("aes") or given.get("protocol") == "kcp"
    return "clients_file" in model.model_fields and not other_mode and DEFAULT_CLIENTS_FILE.exists()


def _invitation(word: str | SecretStr | None, file: Path | None) -> Invitation | None:
    """Raises ValueError or UsageError with one line."""
    if word and file:
        raise ValueError("--join-file and RATBOND_JOIN exclude each other: give one of them")
    text = word.get_secret_value() if isinstance(word, SecretStr) else word
    if file:
        text = read_secret(file, "--join-file")
    if not text:
        return None
    try:
        return Invitation.decode(text)
    except ValueError as error:
        raise ValueError(f"{'--join-file' if file else 'RATBOND_JOIN'}: {error}") from None


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong, with the flag it came from."""
    first = error.errors(include_url=False, include_input=False)[0]
    flag = f"--{str(first['loc'][0]).replace('_', '-')}" if first["loc"] else ""
    if first["type"] == "missing":
        return f"{flag} is required: tell where the server is, such as {flag} 192.0.2.1:12345, or give --join-file (ratbond --help has all flags)"
    if first["type"] in {"greater_than_equal", "less_than_equal"}:
        return f"{flag}: must be {_bounds(first['type'], first['ctx'])}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{flag}: {message}" if flag and not message.startswith(flag) else message


def _bounds(kind: str, context: Mapping[str, Any]) -> str:
    return f"at least {context['ge']}" if kind == "greater_than_equal" else f"at most {context['le']}"


def read_secret(path: Path, flag: str = "--secret-file") -> str:
    """The secret in a file that nobody but its owner can read. Raises UsageError with one line."""
    try:
        with path.open(encoding="utf-8") as file:
            # Of the open file: the name may lead elsewhere a moment later.
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_SECRET_CHARS + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"{flag} {path}: {reason}") from None
    if stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{flag} {path}: others may read it; run: chmod 600 {path}")
    if len(text) > _MAX_SECRET_CHARS:
        raise UsageError(
            f"{flag} {path}: that is no secret, it is longer than {_MAX_SECRET_CHARS} characters"
        )
    if not text:
        raise UsageError(f"{flag} {path}: the file is empty")
    return text


def secret_is_on_command_line(flags: Mapping[str, Any]) -> bool:
    """Whether anybody on this machine can read the secret in the list of processes."""
    return bool(flags.get("secret"))


def process_environment() -> Mapping[str, str]:
    """The variables that this process was started with."""
    return os.environ
