"""What both ends of a tunnel are configured to be: one model for flags, variables and the file, validated and whole.

A field's description is the flag's help and the JSON Schema's text; :class:`~ratbond.config.values.Setting` has the rest of
what the command line needs. So flags and file cannot differ.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from ratbond.config.secrets import read_secret
from ratbond.config.values import (
    DeviceName,
    FilePath,
    ListenAddress,
    Number,
    Seconds,
    Setting,
    Switch,
    parse_network,
)
from ratbond.errors import UsageError
from ratbond.models import HostPort
from ratbond.secret import is_key

DEFAULT_TUNNEL_IP: Final = "10.10.10.0/30"
DEFAULT_HTTP_LISTEN: Final = "0.0.0.0:8091"
MIN_TOKEN_CHARS: Final = 16
TUN_MTU_KCP: Final = 1336  # stock's; the largest packet that one KCP segment of MTU 1360 carries
TUN_MTU_BOND: Final = (
    1400  # with 58 bytes around it over IPv4, 78 over IPv6, it fits PPPoE and most providers' tunnels
)

_BALANCES: Final = ("adaptive", "consistent", "roundrobin", "redundant")


class Role(StrEnum):
    """Which end of the tunnel."""

    CLIENT = "client"
    SERVER = "server"


class Host(StrEnum):
    """Which host of the /30 (/126) an end takes."""

    AUTO = "auto"  # as the peer needs it
    FIRST = "first"
    SECOND = "second"


class TunnelConfig(BaseModel):
    """What both ends have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    role: ClassVar[Role]
    tunnel_id: Annotated[Number, Setting("N", "660")] = Field(
        default=660, ge=1, le=65_525, description="1 to 65525, the same on both ends."
    )  # conv = tunnel-id + 0..10 must fit LINKDOWN's u16
    tun_name: Annotated[DeviceName | None, Setting("NAME", "tun<tunnel-id>")] = Field(
        default=None, description="Name of the tun device."
    )
    tunnel_ip: Annotated[
        IPv4Network, parse_network(4, 30, DEFAULT_TUNNEL_IP), Setting("NETWORK", DEFAULT_TUNNEL_IP)
    ] = Field(
        default=IPv4Network(DEFAULT_TUNNEL_IP),
        description="The tunnel's /30: the server is its first host, the client its second.",
    )
    tunnel_ip6: Annotated[
        IPv6Network | None,
        parse_network(6, 126, "fd00::/126"),
        Setting("NETWORK", "a private one made from the tunnel-id"),
    ] = Field(default=None, description="The tunnel's /126.")
    address: Annotated[Host, Setting("HOST", "auto")] = Field(
        default=Host.AUTO,
        description="Which host of the /30 and the /126 this end is: first, second, or auto, which is the reverse of the "
        "above towards a stock ratbond.",
    )
    protocol: Annotated[
        Literal["kcp", "bond"] | None, Setting("NAME", "bond with a secret and without --aes, else kcp")
    ] = Field(
        default=None,
        description="The link protocol: bond, sealed links, which need a secret; or kcp, the stock program's.",
    )
    aes: Annotated[Switch, Setting()] = Field(
        default=False, description="The stock program's AES; needs a secret. It hides, but proves nothing."
    )
    cipher: Annotated[Literal["auto", "aes-256-gcm", "chacha20-poly1305"], Setting("NAME", "auto")] = Field(
        default="auto",
        description="The only cipher for sealed links: aes-256-gcm or chacha20-poly1305; auto takes the one that the "
        "client's CPU is faster at.",
    )
    secret: Annotated[SecretStr | None, Setting("SECRET")] = Field(
        default=None,
        description="The secret that both ends share (`ratbond keygen` makes one); visible in `ps`: better --secret-file or "
        "RATBOND_SECRET.",
    )
    secret_file: Annotated[FilePath | None, Setting("FILE")] = Field(
        default=None, description="A file of mode 0600 that holds the secret."
    )
    balance_adaptive: Annotated[
        Switch, Setting(default="the default of sealed links, and for them only", no=None, live=True)
    ] = Field(
        default=False,
        description="Send each packet where it arrives first, so that one download uses every link.",
    )
    balance_consistent: Annotated[
        Switch, Setting(default="the default of plain links", no=None, live=True)
    ] = Field(default=False, description="Keep each flow on one link.")
    balance_roundrobin: Annotated[Switch, Setting(no=None, live=True)] = Field(
        default=False, description="Send packets over the links in turn."
    )
    balance_redundant: Annotated[Switch, Setting(no=None, live=True)] = Field(
        default=False,
        description="Send every packet over every link, and deliver the copy that comes first; for sealed links only.",
    )
    nat: Annotated[Switch, Setting(live=True)] = Field(
        default=False,
        description="Let others use the tunnel through this machine: turns forwarding on, translates addresses (a client "
        "those of its LAN, a server those of its clients), and opens the way in other firewalls. Needs nft.",
    )
    mux: Annotated[Number, Setting("N", "1")] = Field(
        default=1, ge=1, le=11, description="Conversations per link."
    )  # convs of a tunnel: tunnel-id + 0..10
    no_offload: Annotated[Switch, Setting(no="offload")] = Field(
        default=False,
        description="Read and write each packet by itself, without the kernel's segmentation offload: slower, for kernels and "
        "drivers that get it wrong.",
    )
    http_listen_addr: Annotated[ListenAddress, Setting("ADDRESS:PORT", DEFAULT_HTTP_LISTEN)] = Field(
        default=HostPort.parse(DEFAULT_HTTP_LISTEN),
        description="Where the status is served, to private addresses only; `disable` turns it off.",
    )
    http_token_file: Annotated[FilePath | None, Setting("FILE")] = Field(
        default=None,
        description="A file of mode 0600 whose token opens the status to public addresses, too.",
    )
    stats_interval: Annotated[Seconds, Setting("S", "15", live=True)] = Field(
        default=15.0,
        ge=0,
        le=86_400,
        description="Seconds between lines of statistics in the log; 0 turns them off.",
    )
    debug: Annotated[Switch, Setting(live=True)] = Field(
        default=False, description="Log more; tracebacks of unexpected errors too."
    )
    trace: Annotated[Switch, Setting()] = Field(
        default=False, description="Log every datagram and packet too, at most 200 lines a second."
    )
    log_format: Annotated[Literal["auto", "text", "json", "journal"], Setting("FORMAT", "auto")] = Field(
        default="auto",
        description="How the log is written: text, a line for people; json, an object a line; journal, fields of systemd's "
        "journal; auto is journal under systemd, and else text.",
    )
    nosyslog: Annotated[Switch, Setting(no="syslog")] = Field(
        default=False, description="Log to standard error only."
    )

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
        if (self.balance_adaptive or self.balance_redundant) and not self.sealed:
            which = "adaptive" if self.balance_adaptive else "redundant"
            raise ValueError(
                f"--balance-{which} needs sealed links, whose packets carry numbers: make a secret with "
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
    def end_name(self) -> str:
        """What tells this end from others on the machine."""
        return f"{self.role.value}-{self.tunnel_id}"

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
    def scheduler(self) -> Literal["adaptive", "consistent", "roundrobin", "redundant"]:
        """How packets are spread over the links."""
        if self.balance_roundrobin:
            return "roundrobin"
        if self.balance_redundant:
            return "redundant"
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
