"""The WAN links of a client as the plan wants them: which there are, and how the server is reached over each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from ratbond.config import ClientConfig
from ratbond.daemon.endpoint import Remote
from ratbond.links.choice import LinkPolicy
from ratbond.links.model import WanLink
from ratbond.links.netlink import gateway_towards
from ratbond.models import Family, IPAddress, IPNetwork
from ratbond.netcfg.plan import Uplink


def link_policy(
    config: ClientConfig,
    families: Iterable[Family],
    *,
    device: str,
    tunnel_networks: tuple[IPNetwork, ...],
    keep_sources: Mapping[int, IPAddress] | None = None,
) -> LinkPolicy:
    """What is a link, as the configuration has it, towards a server with addresses of these families."""
    return LinkPolicy(
        families=tuple(families) or (Family.V4,),
        named=config.named_wans,
        left_out=frozenset(config.no_wan),
        own_devices=frozenset({device}),
        tunnel_networks=tunnel_networks,
        keep_sources=keep_sources or {},
    )


async def uplink_over(link: WanLink, remote: Remote) -> Uplink:
    """The link with its gateway, where the kernel would not find the way over it by itself."""
    server = ip_address(remote[0])
    found = await gateway_towards(server, link.source, link.index) if link.gateway else None
    return Uplink(link.device, link.source, server, link.gateway if found != link.gateway else None)
