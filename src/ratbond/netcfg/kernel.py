"""Does a single step of a plan, and undoes it: rtnetlink(7) through pyroute2, sysctls through /proc."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any, Final

from ratbond.models import Family, IPNetwork
from ratbond.netcfg.plan import Address, Barrier, Route, Rule, Up

PROTOCOL: Final = (
    114  # who made a route or rule (rt_protos): ours, to be told apart in `ip route` and `ip rule`
)
_PROC: Final = Path("/proc/sys/net")
_ALREADY_GONE: Final = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)
_RTM_NEWRULE: Final = 32
_RTM_DELRULE: Final = 33
_NLM_F_REQUEST_ACK: Final = 0x1 | 0x4
_NLM_F_CREATE: Final = 0x400
_ANSWER_WITHIN_S: Final = 5.0
_NO_ANSWER: Final = "the kernel does not answer"
_NO_SUPPRESSION: Final = 0xFFFF_FFFF
_RTN_UNICAST: Final = 1
_RTN_UNREACHABLE: Final = 7
BARRIER_METRIC: Final = 0x7FFF_FFFF  # no route of ours comes after it


class Kernel:
    """One rtnetlink socket. Refusals are raised as OSError."""

    def __init__(self) -> None:
        from pyroute2 import AsyncIPRoute

        self._netlink = AsyncIPRoute()

    async def close(self) -> None:
        """Closes the socket."""
        await self._call(self._netlink.close())

    async def index_of(self, device: str) -> int:
        """A device's index. Raises OSError when there is none of that name."""
        try:
            return socket.if_nametoindex(device)
        except OSError:
            raise OSError(errno.ENODEV, f"there is no interface {device}") from None

    async def set_up(self, step: Up) -> None:
        """Sets MTU and state."""
        await self._call(
            self._netlink.link("set", index=await self.index_of(step.device), mtu=step.mtu, state="up")
        )

    async def add_address(self, step: Address) -> None:
        """Adds an address, or leaves it when it is there."""
        await self._call(self._netlink.addr("replace", **await self._address(step)))

    async def remove_address(self, step: Address) -> None:
        """Removes an address, if it is there."""
        await self._call(self._netlink.addr("del", **await self._address(step)), ignore=_ALREADY_GONE)

    async def add_route(self, step: Route) -> None:
        """Adds a route, or puts it in the place of one like it."""
        await self._call(self._netlink.route("replace", **await self._route(step)))

    async def remove_route(self, step: Route) -> None:
        """Removes a route, if it is there."""
        await self._call(self._netlink.route("del", **await self._route(step)), ignore=_ALREADY_GONE)

    async def add_barrier(self, step: Barrier) -> None:
        """Adds an unreachable route after all others to its network, or leaves it when it is there."""
        await self._call(self._netlink.route("replace", **_barrier(step)))

    async def remove_barrier(self, step: Barrier) -> None:
        """Removes it, if it is there."""
        await self._call(self._netlink.route("del", **_barrier(step)), ignore=_ALREADY_GONE)

    async def append_rule(self, step: Rule) -> None:
        """Adds a rule after all others of its priority, also when there is one like it (no NLM_F_EXCL)."""
        await self._call(
            self._netlink.rule((_RTM_NEWRULE, _NLM_F_REQUEST_ACK | _NLM_F_CREATE), **_rule(step))
        )

    async def remove_rule(self, step: Rule) -> bool:
        """Removes the first such rule; False when there is none."""
        return await self._call(
            self._netlink.rule((_RTM_DELRULE, _NLM_F_REQUEST_ACK), **_rule(step)), ignore=_ALREADY_GONE
        )

    async def count_rules(self, step: Rule) -> int:
        """How many rules like this there are."""
        wanted = _rule(step)
        count = 0
        for message in await self._dump("rule", family=wanted["family"]):
            attributes = dict(message["attrs"])
            lengths = (wanted.get("src_len", 0), wanted.get("dst_len", 0))
            if message["family"] != wanted["family"] or (message["src_len"], message["dst_len"]) != lengths:
                continue
            count += _rule_key(attributes) == (
                step.priority,
                step.table,
                str(step.source.network_address) if step.source else None,
                str(step.destination.network_address) if step.destination else None,
                step.out_device,
                _NO_SUPPRESSION if step.suppress_prefix_length is None else step.suppress_prefix_length,
            )
        return count

    async def has_route(self, step: Route | Barrier) -> bool:
        """Whether the table holds a route of this kind to this destination."""
        kind = _RTN_UNREACHABLE if isinstance(step, Barrier) else _RTN_UNICAST
        length = step.destination.prefixlen
        address = str(step.destination.network_address) if length else None
        for message in await self._dump(
            "route", family=_socket_family(Family.of(step.destination)), table=step.table
        ):
            attributes = dict(message["attrs"])
            found = (
                message["type"],
                attributes.get("RTA_TABLE"),
                attributes.get("RTA_DST"),
                message["dst_len"],
            )
            if found == (kind, step.table, address, length):
                return True
        return False

    async def count_own_rules(self, family: Family) -> int:
        """How many rules there are that we made, in this run or another."""
        rules = await self._dump("rule", family=_socket_family(family))
        return sum(dict(message["attrs"]).get("FRA_PROTOCOL") == PROTOCOL for message in rules)

    async def _address(self, step: Address) -> dict[str, Any]:
        return {
            "index": await self.index_of(step.device),
            "address": str(step.interface.ip),
            "prefixlen": step.interface.network.prefixlen,
            "family": _socket_family(Family.of(step.interface)),
        }

    async def _route(self, step: Route) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "family": _socket_family(Family.of(step.destination)),
            "table": step.table,
            "proto": PROTOCOL,
            "scope": 0 if step.gateway or step.destination.version == 6 else 253,
        }
        try:
            fields["oif"] = await self.index_of(step.device)
        except OSError:
            fields["oif"] = 0x7FFF_FFFF  # gone, and its routes with it: let the kernel answer so
        if step.destination.prefixlen:
            fields["dst"] = str(step.destination)
        else:
            fields["dst"] = "default"
        if step.gateway:
            fields["gateway"] = str(step.gateway)
            fields["flags"] = 4  # RTNH_F_ONLINK: the user says that the gateway is there
        return fields

    async def _dump(self, what: str, **filters: int) -> list[dict[str, Any]]:
        from pyroute2 import NetlinkError

        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await getattr(self._netlink, what)("dump", **filters)
                return [message async for message in answer]
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, _NO_ANSWER) from None
        except NetlinkError as error:
            raise OSError(errno.EAGAIN, str(error)) from None

    async def _call(self, request: Any, ignore: frozenset[int] = frozenset()) -> bool:
        """Awaits a request; False when the kernel's refusal is one of those to ignore."""
        from pyroute2 import NetlinkError

        try:
            if hasattr(request, "__await__"):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await request
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, _NO_ANSWER) from None
        except NetlinkError as error:
            if error.code in ignore:
                return False
            raise OSError(error.code, str(error.args[1] if len(error.args) > 1 else error)) from None
        return True


def _socket_family(family: Family) -> int:
    return socket.AF_INET if family is Family.V4 else socket.AF_INET6


def _rule(step: Rule) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "family": _socket_family(step.family),
        "priority": step.priority,
        "table": step.table,
        "protocol": PROTOCOL,
    }
    for prefix, network in (("src", step.source), ("dst", step.destination)):
        if network is not None:
            fields |= _prefix(prefix, network)
    if step.out_device:
        fields["oifname"] = step.out_device
    if step.suppress_prefix_length is not None:
        fields["suppress_prefixlen"] = step.suppress_prefix_length
    return fields


def _barrier(step: Barrier) -> dict[str, Any]:
    family = Family.of(step.destination)
    return {
        "family": _socket_family(family),
        "type": "unreachable",
        "table": step.table,
        "proto": PROTOCOL,
        "priority": BARRIER_METRIC,
        "dst": str(step.destination) if step.destination.prefixlen else "default",
    }


def _rule_key(attributes: dict[str, Any]) -> tuple[object, ...]:
    names = ("FRA_PRIORITY", "FRA_TABLE", "FRA_SRC", "FRA_DST", "FRA_OIFNAME", "FRA_SUPPRESS_PREFIXLEN")
    return tuple(attributes.get(name) for name in names)


def _prefix(name: str, network: IPNetwork) -> dict[str, Any]:
    return {name: str(network.network_address), f"{name}_len": network.prefixlen}


def ipv6_is_on() -> bool:
    """Whether new devices get IPv6 at all."""
    try:
        return (_PROC / "ipv6/conf/default/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


def reverse_path_is_strict(device: str) -> bool:
    """Whether the kernel drops what came a way it would not go back: the larger of "all" and the device's own counts."""
    values = []
    for name in ("all", device):
        try:
            values.append(int(read_sysctl(reverse_path_key(name))))
        except (OSError, ValueError):
            return False  # the device is gone
    return max(values) == 1


def reverse_path_key(device: str) -> str:
    """The sysctl's path below /proc/sys/net; slashes, since a device's name may hold dots."""
    return f"ipv4/conf/{device}/rp_filter"


def forwarding_key(family: Family) -> str:
    """The sysctl that makes a host a router."""
    return "ipv4/ip_forward" if family is Family.V4 else "ipv6/conf/all/forwarding"


def listening_to_routers() -> list[str]:
    """The accept_ra sysctls of devices that take router advertisements as hosts do: a router ignores them at 1, not at 2."""
    keys = [
        f"ipv6/conf/{directory.name}/accept_ra"
        for directory in (_PROC / "ipv6/conf").iterdir()
        if directory.name != "all"
    ]
    return [key for key in keys if read_sysctl(key) == "1"]


def read_sysctl(key: str) -> str:
    """A value below /proc/sys/net."""
    return _sysctl(key).read_text().strip()


def write_sysctl(key: str, value: str) -> None:
    """Sets a value below /proc/sys/net."""
    _sysctl(key).write_text(value)


def _sysctl(key: str) -> Path:
    """The file of a key. Keys come from notes on disk, too, which must not lead root anywhere else."""
    if ".." in Path(key).parts or Path(key).is_absolute():
        raise OSError(errno.EINVAL, f"{key!r} is no network sysctl")
    return _PROC / key
