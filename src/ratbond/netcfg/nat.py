"""Letting others through the tunnel: address translation in nftables tables of our own, and a way past other firewalls.

An accept in one table is no accept in the next: a packet passes a hook only when every base chain there lets it. So a
firewall that forwards nothing by itself (firewalld, ufw, docker, OpenWrt's fw4) must be told in its own chain. What is put
there carries a comment by which it is found again, whoever has reloaded what since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ratbond.netcfg import nft, nft_words
from ratbond.netcfg.plan import NatStep

_MARK: Final = "ratbond-"


async def apply(step: NatStep) -> None:
    """Makes the table and opens the way, both at once, in the place of what the step's owner had. Raises OSError."""
    found = await nft.ruleset()
    await nft.run(_closing(step, found) + script(step, found))


async def undo(step: NatStep) -> None:
    """Removes table and ways, if they are there."""
    await nft.run(removal(step, await nft.ruleset()))


async def lost(steps: Sequence[NatStep]) -> list[NatStep]:
    """Those whose table is gone, or before which a firewall stands that was not there, or not in this form."""
    if not steps:
        return []
    found = await nft.ruleset()
    return [
        step
        for step in steps
        if not _has_table(step, found)
        or any(not _is_known(step, found, chain) for chain in _closed_chains(found))
    ]


def script(step: NatStep, ruleset: nft.Ruleset) -> str:
    """The nft script that makes a step's table, in place of one of that name, and lets its packets past every firewall."""
    name = _table_name(step)
    chains = nft_words.chains(step)
    return f"table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{chains}}}\n{ways(step, ruleset)}"


def ways(step: NatStep, ruleset: nft.Ruleset) -> str:
    """The nft script that lets the tunnel's packets past every firewall that could drop them."""
    return "".join(
        f'insert rule {_place(chain)} {match} accept comment "{_comment(step)}"\n'
        for chain in _closed_chains(ruleset)
        for match in nft_words.openings(step, chain["family"])
    )


def removal(step: NatStep, ruleset: nft.Ruleset) -> str:
    """The nft script that takes away all that a step has made."""
    table = f"delete table inet {_table_name(step)}\n" if _has_table(step, ruleset) else ""
    return _closing(step, ruleset) + table


def _closing(step: NatStep, ruleset: nft.Ruleset) -> str:
    return "".join(
        f"delete rule {_place(rule)} handle {rule['handle']}\n"
        for rule in _of_kind(ruleset, "rule")
        if rule.get("comment") == _comment(step)
    )


def _has_table(step: NatStep, ruleset: nft.Ruleset) -> bool:
    return any(t["family"] == "inet" and t["name"] == _table_name(step) for t in _of_kind(ruleset, "table"))


def _closed_chains(ruleset: nft.Ruleset) -> list[dict[str, Any]]:
    """Others' chains that could drop what is forwarded: by their policy, or by a rule."""
    return [
        chain
        for chain in _of_kind(ruleset, "chain")
        if chain.get("hook") == "forward"
        and chain.get("type") == "filter"
        and chain["family"] in {"ip", "ip6", "inet"}
        and not str(chain["table"]).startswith("ratbond_")
        and (chain.get("policy") == "drop" or _others(_rules(ruleset, chain)))
    ]


def _is_known(step: NatStep, ruleset: nft.Ruleset, chain: dict[str, Any]) -> bool:
    known = any(rule.get("comment") == _comment(step) for rule in _rules(ruleset, chain))
    return known or not nft_words.openings(step, chain["family"])


def _others(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for rule in rules if not str(rule.get("comment", "")).startswith(_MARK)]


def _rules(ruleset: nft.Ruleset, chain: dict[str, Any]) -> list[dict[str, Any]]:
    place = (chain["family"], chain["table"], chain["name"])
    return [r for r in _of_kind(ruleset, "rule") if (r["family"], r["table"], r["chain"]) == place]


def _of_kind(ruleset: nft.Ruleset, kind: str) -> list[dict[str, Any]]:
    return [entry[kind] for entry in ruleset if kind in entry]


def _place(entry: dict[str, Any]) -> str:
    """The chain that an entry is, or is in, as nft's scripts name it."""
    return f"{entry['family']} {entry['table']} {entry.get('chain') or entry['name']}"


def _table_name(step: NatStep) -> str:
    return f"ratbond_{step.owner.replace('-', '_')}"


def _comment(step: NatStep) -> str:
    return f"{_MARK}{step.owner}"
