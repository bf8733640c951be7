"""What a translation or a list of port forwards is in nft's language: the chains of its own table, and what others must let pass. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ratbond.forward import PortForward
from ratbond.models import Family, IPAddress, IPNetwork
from ratbond.netcfg.plan import NatStep, PortForwards, Translation

_FAMILIES: Final = {"ip": (Family.V4,), "ip6": (Family.V6,), "inet": (Family.V4, Family.V6)}
_KNOWN: Final = "ct state established,related"


def chains(step: NatStep) -> str:
    """The chains of a step's own table, which is of the family inet."""
    if isinstance(step, Translation):
        return _chain("postrouting", "srcnat", _translation(step))
    masqueraded = [_to_target(step, forward) for forward in step.forwards if forward.masquerade]
    return _chain("prerouting", "dstnat", [_forward(step, forward) for forward in step.forwards]) + (
        _chain("postrouting", "srcnat", [f"{match} masquerade" for match in masqueraded])
        if masqueraded
        else ""
    )


def openings(step: NatStep, family: str) -> list[str]:
    """What a chain of this family must accept, as matches."""
    tun = f'"{step.device}"'
    answers = f"iifname {tun} {_KNOWN}"
    if isinstance(step, PortForwards):
        if not any(Family.of(forward.target) in _FAMILIES[family] for forward in step.forwards):
            return []
        return [answers, f"oifname {tun} ct status dnat"]
    if not step.towards_tunnel:
        return [f"oifname {tun} {_KNOWN}", f"iifname {tun}"]
    routed = [network for network in step.routed if Family.of(network) in _FAMILIES[family]]
    out = [f"oifname {tun}"] if step.masquerade else [f"oifname {tun} {_address('s', n)} {n}" for n in routed]
    inwards = [f"iifname {tun} {_address('d', network)} {network}" for network in routed]
    return [answers, *out, *inwards] if out else []


def _translation(step: Translation) -> Iterator[str]:
    tun = f'"{step.device}"'
    if not step.towards_tunnel:
        yield f"iifname {tun} oifname != {tun} masquerade"
        return
    for network in step.routed:
        yield f"oifname {tun} {_address('s', network)} {network} accept"
        # A visitor with the far end's own address: hosts here need not know the way back to it.
        for inside in step.inside:
            if inside.version == network.version:
                yield (
                    f"iifname {tun} {_address('s', inside)} {inside} {_address('d', network)} {network} masquerade"
                )
    if step.masquerade:
        yield f"oifname {tun} masquerade"


def _forward(step: PortForwards, forward: PortForward) -> str:
    """What comes from the client itself stays: it would go back into the tunnel that it has come from."""
    family = "ip" if forward.target.version == 4 else "ip6"
    port = f":{forward.target_port}" if forward.target_port else ""
    target = f"[{forward.target}]" if port and family == "ip6" else str(forward.target)
    return (
        f'iifname != "{step.device}" meta nfproto {_protocol(forward)} fib daddr type local '
        f"{forward.protocol} dport {forward.ports} dnat {family} to {target}{port}"
    )


def _to_target(step: PortForwards, forward: PortForward) -> str:
    return (
        f'oifname "{step.device}" ct status dnat {_address("d", forward.target)} {forward.target} '
        f"{forward.protocol} dport {forward.target_port or forward.ports}"
    )


def _chain(hook: str, priority: str, rules: Iterator[str] | list[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {hook} {{\n    type nat hook {hook} priority {priority}\n{lines}  }}\n"


def _address(side: str, of: IPAddress | IPNetwork) -> str:
    return f"{'ip' if of.version == 4 else 'ip6'} {side}addr"


def _protocol(forward: PortForward) -> str:
    return f"ipv{forward.target.version}"
