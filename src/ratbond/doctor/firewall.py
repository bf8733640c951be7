"""Which of a firewall's chains drop what comes in and is unknown to them, from what nft tells of its rules. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ratbond.doctor.model import InputChain

Ruleset = list[dict[str, Any]]
_FAMILIES: Final = frozenset({"ip", "inet"})


def dropping_chains(ruleset: Ruleset) -> tuple[InputChain, ...]:
    """The input chains whose last word is to drop, with the UDP ports that they, or chains they jump to, name."""
    rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for rule in (entry["rule"] for entry in ruleset if "rule" in entry):
        rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
    chains = [entry["chain"] for entry in ruleset if "chain" in entry]
    return tuple(
        InputChain(
            f"{chain['family']} {chain['table']} {chain['name']}", tuple(_ports(rules, _place(chain))), _manager(rules, chain)
        )
        for chain in chains
        if chain.get("hook") == "input" and chain["family"] in _FAMILIES and _drops(chain, rules.get(_place(chain), []))
    )  # fmt: skip


def _place(chain: dict[str, Any]) -> tuple[str, str, str]:
    return chain["family"], chain["table"], chain["name"]


def _drops(chain: dict[str, Any], rules: list[dict[str, Any]]) -> bool:
    """By its policy, or by a last rule that has no condition."""
    if chain.get("policy") == "drop":
        return True
    last = [statement for statement in (rules[-1]["expr"] if rules else []) if "counter" not in statement]
    return len(last) == 1 and ("drop" in last[0] or "reject" in last[0])


def _ports(
    rules: dict[tuple[str, str, str], list[dict[str, Any]]],
    place: tuple[str, str, str],
    seen: frozenset[str] = frozenset(),
) -> Iterator[tuple[int, int]]:
    """The ranges of UDP ports in rules that lead to an accept, or on to other chains."""
    family, table, name = place
    if name in seen:
        return
    for rule in rules.get(place, []):
        statements = rule["expr"]
        if any("accept" in statement for statement in statements):
            yield from _accepted(statements)
        for statement in statements:
            target = (statement.get("jump") or statement.get("goto") or {}).get("target")
            if target:
                yield from _ports(rules, (family, table, target), seen | {name})


def _accepted(statements: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    ports = [s["match"] for s in statements if "match" in s and _is_port(s["match"].get("left"))]
    for match in ports:
        if match.get("op") == "==":
            yield from _ranges(match["right"])
    if not ports and _takes_all_udp(statements):
        yield 1, 65_535


def _is_port(left: object) -> bool:
    if not isinstance(left, dict):
        return False
    payload = left.get("payload") or {}
    return payload.get("field") == "dport" and payload.get("protocol") in {"udp", "th"}


def _takes_all_udp(statements: list[dict[str, Any]]) -> bool:
    """An accept under no condition, or of the protocol alone; what firewalls accept of known connections is more."""
    for match in (s["match"] for s in statements if "match" in s):
        key = (
            (match.get("left") or {}).get("meta", {}).get("key")
            if isinstance(match.get("left"), dict)
            else None
        )
        if not (key == "l4proto" and match.get("right") in ("udp", 17)):
            return False
    return not any(
        "xt" in statement for statement in statements
    )  # iptables' own match, which nft does not tell


def _ranges(right: object) -> Iterator[tuple[int, int]]:
    match right:
        case int():
            yield right, right
        case {"range": [int() as low, int() as high]}:
            yield low, high
        case {"set": [*items]} | [*items]:
            for item in items:
                yield from _ranges(item)
        case str():
            yield 1, 65_535  # a named set: its elements are not asked for


def _manager(rules: dict[tuple[str, str, str], list[dict[str, Any]]], chain: dict[str, Any]) -> str:
    if chain["table"] == "firewalld":
        return "firewalld"
    tables = {place[2] for place in rules if place[:2] == (chain["family"], chain["table"])}
    return "ufw" if any(name.startswith("ufw-") for name in tables) else ""
