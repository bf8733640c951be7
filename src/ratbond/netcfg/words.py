"""The steps of a plan as a person would type them: iproute2, sysctl(8) and nft(8). Pure."""

from __future__ import annotations

from ratbond.models import Family, IPInterface, IPNetwork
from ratbond.netcfg.kernel import BARRIER_METRIC, PROTOCOL
from ratbond.netcfg.plan import MAIN_TABLE, Address, Barrier, Route, Rule, Up

TO_BE_ASSIGNED = "ADDRESS"  # stands for one that the peer has yet to say


def command(step: Up | Address | Route | Barrier | Rule) -> str:
    """The command that does a step."""
    match step:
        case Up(device=device, mtu=mtu):
            return f"ip link set {device} mtu {mtu} up"
        case Address(device=device, interface=interface):
            return f"{_ip(Family.of(interface))} address add {_address(interface)} dev {device}"
        case Route():
            return _route(step)
        case Barrier():
            return _barrier(step)
        case Rule():
            return _rule(step)


def setting(key: str, value: str) -> str:
    """The command that sets a sysctl, whose key is its path below /proc/sys/net."""
    dotted = key if "." in key else key.replace("/", ".")  # a VLAN's name has a dot of its own
    return f"sysctl -w net{'/' if '.' in key else '.'}{dotted}={value}"


def _barrier(step: Barrier) -> str:
    return (
        f"{_ip(Family.of(step.destination))} route add unreachable {_network(step.destination)} "
        f"table {step.table} metric {BARRIER_METRIC} proto {PROTOCOL}"
    )


def _network(destination: IPNetwork) -> str:
    return str(destination) if destination.prefixlen else "default"


def _route(step: Route) -> str:
    gateway = f" via {step.gateway}" if step.gateway else ""
    onlink = " onlink" if step.gateway else ""
    return (
        f"{_ip(Family.of(step.destination))} route add {_network(step.destination)}{gateway} dev {step.device} "
        f"table {_table(step.table)} proto {PROTOCOL}{onlink}"
    )


def _rule(step: Rule) -> str:
    words = [f"{_ip(step.family)} rule add pref {step.priority}"]
    if step.source:
        words.append(f"from {step.source}")
    if step.destination:
        words.append(f"to {step.destination}")
    if step.out_device:
        words.append(f"oif {step.out_device}")
    words.append(f"lookup {_table(step.table)}")
    if step.suppress_prefix_length is not None:
        words.append(f"suppress_prefixlength {step.suppress_prefix_length}")
    return " ".join([*words, f"protocol {PROTOCOL}"])


def _address(interface: IPInterface) -> str:
    return TO_BE_ASSIGNED if interface.ip.is_unspecified else str(interface)


def _table(number: int) -> str:
    return "main" if number == MAIN_TABLE else str(number)


def _ip(family: Family) -> str:
    return "ip" if family is Family.V4 else "ip -6"
