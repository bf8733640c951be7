"""The settings of one end alone, on top of those that both have (:mod:`ratbond.config.model`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, Strict, model_validator

from ratbond.config.model import Role, TunnelConfig
from ratbond.config.secrets import read_invitation
from ratbond.config.values import (
    Address,
    DeviceName,
    Endpoint,
    FilePath,
    Forwards,
    LinkCaps,
    Network,
    Number,
    Quota,
    Setting,
    Switch,
    Wans,
)
from ratbond.forward import with_targets
from ratbond.invitation import Invitation
from ratbond.models import MAX_WEIGHT, Caps, HostPort, IPNetwork, LinkQuota, Preference, Tier, WanSpec


class LinkSettings(BaseModel):
    """``[links.NAME]``: a WAN that the user names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wan: DeviceName | None = Field(default=None, description="The interface; without it, the table's name.")
    address: Address | None = Field(default=None, description="Send from this address of it.")
    gateway: Address | None = Field(default=None, description="Send over this gateway.")
    tier: Tier = Field(
        default=Tier.PRIMARY,
        description="When it is used: primary always, secondary for what the primary links cannot carry, backup when no "
        "other link is up.",
    )
    rate: LinkCaps | None = Field(
        default=None, description="The most that goes over it, up/down, such as 5mbit/20mbit; - is no cap."
    )
    weight: Number = Field(
        default=1,
        ge=1,
        le=MAX_WEIGHT,
        description="Flows (consistent) or packets (roundrobin) for each of another link; the adaptive scheduler measures.",
    )

    quota: Quota | None = Field(
        default=None,
        description="What it may carry both ways in a day, week or month, such as 50GB/month; with a warning at 80 %.",
    )
    quota_then: Literal["backup", "stop"] | None = Field(
        default=None,
        description="What becomes of it when the quota is used up: a backup (the default), or it stops.",
    )

    @property
    def preference(self) -> Preference:
        """What is wanted of it."""
        return Preference(self.tier, self.rate or Caps(), self.weight)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.address and self.gateway and self.address.version != self.gateway.version:
            raise ValueError("the address and the gateway must be of one family")
        if self.quota_then and self.quota is None:
            raise ValueError("quota_then needs a quota")
        return self


Links = dict[DeviceName, LinkSettings]


class ClientConfig(TunnelConfig):
    """The end that has the WAN links."""

    role: ClassVar[Role] = Role.CLIENT
    connect_addr: Annotated[Endpoint, Setting("HOST:PORT")] = Field(
        description="The server: address:port, [v6]:port or name:port. A name is looked up again when all links are down."
    )
    wan: Annotated[Wans, Setting("IFACE[=ADDRESS][@GATEWAY][,tier=...][,rate=UP/DOWN]", live=True)] = Field(
        default=(),
        description="Also use this interface, whatever routes it has; with a source address and a gateway if it needs them. "
        "tier is primary, secondary (for what the primary links cannot carry) or backup (when no other is up); rate, such as "
        "5mbit/20mbit, caps it. May be given again.",
    )
    no_wan: Annotated[tuple[DeviceName, ...], Setting("IFACE", live=True)] = Field(
        default=(), description="Leave this interface alone. May be given again."
    )
    links: Annotated[Links, Setting(flag=False, live=True)] = Field(
        default_factory=dict, description="WANs by name, as --wan names them."
    )
    policy: Annotated[str | None, Setting("NAME", live=True)] = Field(
        default=None,
        description="Decide anew all the time how links are used: cost, latency-first, time-of-day HH:MM-HH:MM, or your own as "
        "module:Class.",
    )
    no_default_route: Annotated[Switch, Setting(no="default-route", live=True)] = Field(
        default=False, description="Do not route everything through the tunnel."
    )
    route: Annotated[tuple[Network, ...], Setting("NETWORK", live=True)] = Field(
        default=(),
        description="Send only this network through the tunnel, such as 198.51.100.0/24, and not everything. May be given again.",
    )
    lan: Annotated[tuple[Network, ...], Setting("NETWORK", live=True)] = Field(
        default=(),
        description="A network or a host behind this client that is routed and not translated: it keeps its addresses, and the "
        "other end may open connections to it, its port forwards too, past this machine's firewall. Needs nft. May be given again.",
    )
    no_leak: Annotated[Switch, Setting(no="leak", live=True)] = Field(
        default=False,
        description="Let nothing that is to go through the tunnel leave any other way, also while the bond is down, and after a "
        "crash until the next start. Needs the server's address, not its name.",
    )
    join: Annotated[SecretStr | None, Setting(flag=False)] = Field(
        default=None, description="The word that `ratbond client add` printed on the server."
    )
    join_file: Annotated[FilePath | None, Setting("FILE")] = Field(
        default=None,
        description="A file of mode 0600 with the word that `ratbond client add` printed on the server: where it is, and "
        "this client's keys. RATBOND_JOIN may hold the word instead.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_invitation(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What the line from `ratbond client add` says, where no flag says otherwise."""
        invitation = read_invitation(given.get("join"), given.get("join_file"))
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
    def named_wans(self) -> tuple[WanSpec, ...]:
        """The WANs that the user names, by ``wan`` or in tables; where both do, ``wan`` counts."""
        tables = (
            WanSpec(link.wan or name, link.address, link.gateway, link.preference)
            for name, link in self.links.items()
        )
        return tuple({spec.device: spec for spec in (*tables, *self.wan)}.values())

    @property
    def preferences(self) -> dict[str, Preference]:
        """What is wanted of the WANs that are named, by the names of their devices."""
        return {spec.device: spec.preference for spec in self.named_wans}

    @property
    def quotas(self) -> dict[str, LinkQuota]:
        """What the WANs with a quota may carry, by the names of their devices."""
        return {
            link.wan or name: replace(link.quota, then=link.quota_then or "backup")
            for name, link in self.links.items()
            if link.quota
        }

    @property
    def invitation(self) -> Invitation | None:
        """What the server's operator set this client up with."""
        return read_invitation(self.join, self.join_file)

    @property
    def has_key_pair(self) -> bool:
        """Whether this client has a key of its own."""
        return self.join is not None or self.join_file is not None

    @model_validator(mode="after")
    def _check_leak(self) -> Self:
        if self.no_leak and self.connect_addr.literal is None:
            raise ValueError(
                f"--no-leak: {self.connect_addr.host!r} is a name, which would have to be asked for outside the tunnel: "
                "give the server's address"
            )
        if self.no_leak and self.no_default_route and not self.route:
            raise ValueError(
                "--no-leak is for what goes through the tunnel: leave out --no-default-route, or give --route NETWORK"
            )
        return self

    @model_validator(mode="after")
    def _check_wans(self) -> Self:
        for spec in self.named_wans:
            if spec.device in self.no_wan:
                raise ValueError(f"{spec.device} is both in --wan and in --no-wan: leave it out of one")
            if spec.device == self.device:
                raise ValueError(f"--wan {spec.device} is the tunnel itself: name the interface below it")
        return self


class ServerConfig(TunnelConfig):
    """The end with one public address."""

    role: ClassVar[Role] = Role.SERVER
    listen_addr: Annotated[Endpoint, Setting("ADDRESS:PORT", "0.0.0.0:12345")] = Field(
        default=HostPort("0.0.0.0", 12345), description="Where to listen; [::]:12345 takes IPv4 too."
    )
    clients_file: Annotated[
        FilePath | None,
        Setting("FILE", "/etc/ratbond/clients.toml if it is there and no other mode is asked for"),
    ] = Field(
        default=None,
        description="Serve the clients of this file (`ratbond client add`), each with a key and a tun device of its own.",
    )

    workers: Annotated[
        int | None, Strict(), Setting("N", "one for each processor, at most 8; 1 where it serves one client")
    ] = Field(default=None, ge=1, le=64, description="Threads that share the clients of --clients-file.")

    lan: Annotated[tuple[Network, ...], Setting("NETWORK", live=True)] = Field(
        default=(), description="A network behind the client, routed to it. May be given again."
    )
    forward: Annotated[Forwards, Setting("FORWARD", live=True)] = Field(
        default=(),
        description='Lead a port of this server to a host behind the client: "tcp/8443 -> 192.168.8.10:443", '
        '"udp/5000-5010 -> [2001:db8::7]". Needs nft. May be given again.',
    )

    speedtest: Annotated[Switch, Setting(default="on with sealed links")] = Field(
        default=True,
        description="Let the server's own clients measure their links (`ratbond speedtest`): TCP port 8093 inside their tunnels, "
        "for seconds at a time. With plain links it is off.",
    )

    @property
    def behind(self) -> tuple[IPNetwork, ...]:
        """What is routed to the client: its LAN, and the targets of forwards."""
        return with_targets(self.lan, self.forward)

    @property
    def end_name(self) -> str:
        """What tells this end from others on the machine: its port, where it has many tunnels."""
        return f"server-port-{self.listen_addr.port}" if self.clients_file else super().end_name

    @property
    def has_key_pair(self) -> bool:
        """Whether each client has a key of its own."""
        return self.clients_file is not None

    @model_validator(mode="after")
    def _check_clients(self) -> Self:
        for name in (
            ("tunnel_id", "tunnel_ip", "tunnel_ip6", "address", "lan", "forward") if self.clients_file else ()
        ):
            if name in self.model_fields_set:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{flag} is each client's own: it stands in {self.clients_file}; leave it out, or serve one client "
                    "with --secret-file"
                )
        if not self.clients_file and self.workers is not None and self.workers > 1:
            raise ValueError(
                "--workers shares the clients of a --clients-file; who serves one client leaves it out"
            )
        return self

    @model_validator(mode="after")
    def _check_listen(self) -> Self:
        if self.listen_addr.literal is None:
            raise ValueError(
                f"--listen-addr: {self.listen_addr.host!r} is a name; write an address, such as 0.0.0.0:12345"
            )
        return self
