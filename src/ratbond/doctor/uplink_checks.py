"""What the facts of a client's links mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from ratbond.doctor.model import Answers, Finding, Name, Uplinks, Verdict, Wan

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

_SLOW_LOOKUP_S: Final = 2.0
_CARRIER_NAT: Final = ip_network("100.64.0.0/10")  # RFC 6598
_NEEDED_DATAGRAM: Final = {"bond": 1_310, "kcp": 1_380}  # UDP payload (docs/wire.md)
_HEADERS: Final = {4: 28, 6: 48}  # IP and UDP


def uplinks(facts: Uplinks, protocol: str) -> Iterator[Finding]:
    """The way from a client to its server, in the order in which it is gone."""
    yield from name(facts.name, facts.wans)
    yield from number(facts)
    for wan in facts.wans:
        yield from reverse_path(wan)
        yield from mtu(wan, protocol)
        yield from nat(wan, next((a for a in facts.answers if a.device == wan.device), None))
    yield from reachability(facts, protocol)


def name(facts: Name, wans: tuple[Wan, ...]) -> Iterator[Finding]:
    """The name service."""
    if facts.error:
        yield Finding(
            "dns", FAIL, facts.error,
            f"getent ahosts {facts.host} asks as ratbond does; give an address instead, or mend /etc/resolv.conf",
        )  # fmt: skip
    elif facts.literal:
        yield Finding("dns", OK, "not needed: the server is given by its address")
    elif facts.took_s >= _SLOW_LOOKUP_S:
        yield Finding(
            "dns", WARN, f"{facts.host} is found, but it took {facts.took_s:.0f} s: a name server does not answer",
            "look at the order of the servers in /etc/resolv.conf",
        )  # fmt: skip
    else:
        yield Finding("dns", OK, f"{facts.host} has {_families(facts.families)} addresses")
    if facts.families == (6,) and not any(wan.source.version == 6 for wan in wans):
        yield Finding(
            "dns", FAIL, "the server has an IPv6 address alone, and no link has one",
            "connect to an IPv4 address of the server, or use links with IPv6",
        )  # fmt: skip


def number(facts: Uplinks) -> Iterator[Finding]:
    """How many links there are, and why not more."""
    for device, why in facts.not_yet:
        yield Finding(
            "links",
            WARN,
            f"--wan {device} is no link: {why}",
            f"ip address show dev {device}; ip link set {device} up",
        )
    idle = ", ".join(facts.routeless)
    route = f"ip route add default via ITS-GATEWAY dev {facts.routeless[0]} metric 200" if idle else ""
    has = f"; {idle} has an address, but no default route" if idle else ""
    if not facts.wans and not facts.name.error:
        yield Finding(
            "links", FAIL, f"there is no WAN link: no interface that is up has a default route{has}",
            route or "ip route add default via GATEWAY dev IFACE, or name it: --wan IFACE@GATEWAY",
        )  # fmt: skip
    elif len(facts.wans) == 1:
        yield Finding(
            "links", WARN, f"{facts.wans[0].device} is the only WAN link: there is nothing to bond{has}",
            route or "each WAN needs a default route, of whatever metric: ip route add default via GATEWAY dev IFACE metric 200",
        )  # fmt: skip
    elif facts.wans:
        yield Finding("links", OK, ", ".join(f"{wan.device} ({wan.source})" for wan in facts.wans))


def reverse_path(wan: Wan) -> Iterator[Finding]:
    """rp_filter, which drops the answers of all links but the one with the best route."""
    check = f"{wan.device} rp_filter"
    if wan.source.version != 4:
        return
    if not wan.strict:
        yield Finding(check, OK, "not strict")
    elif wan.writable:
        yield Finding(check, OK, "strict; ratbond loosens it while it runs")
    else:
        yield Finding(
            check, FAIL, "strict, and /proc/sys is read-only: the kernel will drop what comes back over this link",
            f"on the host: sysctl -w net.ipv4.conf.{wan.device}.rp_filter=2",
        )  # fmt: skip


def mtu(wan: Wan, protocol: str) -> Iterator[Finding]:
    """Whether the device takes a datagram whole that must be sent as it is."""
    check = f"{wan.device} mtu"
    needed = _NEEDED_DATAGRAM[protocol] + _HEADERS[wan.source.version]
    if wan.mtu < needed:
        what = (
            "a datagram with an IPv6 packet of 1,280 bytes" if protocol == "bond" else "the largest datagram"
        )
        yield Finding(
            check, WARN, f"{wan.mtu} bytes, and {what} has {needed}: it does not pass",
            f"ip link set {wan.device} mtu 1500, if the network there takes that",
        )  # fmt: skip
    else:
        yield Finding(check, OK, f"{wan.mtu} bytes")


def nat(wan: Wan, answers: Answers | None) -> Iterator[Finding]:
    """What is between the link and the server, as far as the answers tell."""
    check = f"{wan.device} nat"
    if answers and answers.mapping_changes:
        yield Finding(
            check, WARN, f"the server saw {answers.mapping_changes} changes of address or port within a second: something on the "
            "way spreads datagrams over several lines or gives each a new port",
            "turn load balancing off for UDP to this server on the router behind that link",
        )  # fmt: skip
    elif wan.source.version == 4 and wan.source in _CARRIER_NAT:
        yield Finding(check, OK, "the carrier translates addresses; the client calls, so it does not matter")
    elif wan.source.version == 4 and wan.source.is_private:
        yield Finding(check, OK, "a router translates addresses; the client calls, so it does not matter")
    else:
        yield Finding(check, OK, "none: the link has a public address")


def reachability(facts: Uplinks, protocol: str) -> Iterator[Finding]:
    """What came back over each link, the one beside the others."""
    if facts.not_asked and facts.wans:
        yield Finding("server", WARN, f"not asked: {facts.not_asked}")
    others = any(_answered(answers) for answers in facts.answers)
    for answers in facts.answers:
        yield _reached(answers, facts.name, protocol, others=others)


def _reached(answers: Answers, server: Name, protocol: str, *, others: bool) -> Finding:
    check = f"{answers.device} server"
    if answers.state:
        up = answers.state == "up"
        text = f"the client that runs here says that it is {answers.state}"
        return Finding(check, OK if up else WARN, text, "" if up else "ratbond status; its log says why")
    if answers.version:
        return Finding(
            check, FAIL, f"the server speaks another version of the protocol: {answers.version}", "bring both ends to the same release"
        )  # fmt: skip
    if answers.refused:
        return Finding(check, FAIL, answers.refused, _where(answers, server, others=others))
    if not answers.round_trips_ms:
        what = f"nothing came back over {answers.device}"
        return Finding(check, FAIL, f"{what}, {'but over others' if others else 'and over no other link'}",
                       _where(answers, server, others=others) if others else _silent(server, protocol))  # fmt: skip
    lost = answers.asked - len(answers.round_trips_ms)
    text = f"answers in {min(answers.round_trips_ms):.1f} ms"
    if lost > answers.asked // 3:
        return Finding(
            check, WARN, f"{text}, but {lost} of {answers.asked} requests or answers got lost", f"ping -I {answers.device} the gateway, and on"
        )  # fmt: skip
    return Finding(check, OK, text)


def _where(answers: Answers, server: Name, *, others: bool) -> str:
    if others:
        return (
            f"it is this link's: ping -I {answers.device} {server.host}; its router or provider may block UDP port {server.port}; "
            "a server on port 443 passes most of them"
        )
    return f"on the server: ss -Hlun 'sport = :{server.port}'; is ratbond server running there?"


def _silent(server: Name, protocol: str) -> str:
    same = "the same secret or key" if protocol == "bond" else "the same --tunnel-id, --aes and secret"
    return (
        f"on the server, `ratbond doctor server` with its flags; it must run, with {same} (it answers nobody else), and its "
        f"firewall and its provider's must let UDP port {server.port} in"
    )


def _answered(answers: Answers) -> bool:
    return bool(answers.round_trips_ms or answers.version or answers.state == "up")


def _families(families: tuple[int, ...]) -> str:
    return " and ".join(f"IPv{family}" for family in families)
