"""Letting others through the tunnel: address translation in an nftables table of our own, and a way past other firewalls.

An accept in one table is no accept in the next: a packet passes a hook only when every base chain there lets it. So a
firewall that forwards nothing by itself (firewalld, ufw, docker, OpenWrt's fw4) must be told in its own chain. What is put
there carries a comment by which it is found again, whoever has reloaded what since.
"""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any, Final

from ratbond.netcfg.plan import Translation

_MARK: Final = "ratbond-"
Ruleset = list[dict[str, Any]]


async def apply(step: Translation) -> None:
    """Makes the table and opens the way, both at once. Raises OSError when nft is missing or refuses."""
    await _run(table(step) + ways(step, await ruleset()))


async def undo(step: Translation) -> None:
    """Removes table and ways, if they are there."""
    await _run(removal(step, await ruleset()))


async def lost(steps: list[Translation]) -> list[Translation]:
    """Those whose table is gone, or before which a firewall stands that was not there, or not in this form."""
    if not steps:
        return []
    found = await ruleset()
    return [step for step in steps if not _has_table(step, found) or ways(step, found)]


def table(step: Translation) -> str:
    """The nft script that makes the table of a step, in place of one of that name."""
    tun = f'"{step.device}"'
    matches = f"oifname {tun}" if step.towards_tunnel else f"iifname {tun} oifname != {tun}"
    name = _table_name(step)
    return (
        f"table inet {name}\n"
        f"delete table inet {name}\n"
        f"table inet {name} {{\n"
        f"  chain postrouting {{\n"
        f"    type nat hook postrouting priority srcnat\n"
        f"    {matches} masquerade\n"
        f"  }}\n"
        f"}}\n"
    )


def ways(step: Translation, ruleset: Ruleset) -> str:
    """The nft script that lets the tunnel's packets past every firewall that could drop them and does not know it yet."""
    script = ""
    for chain in _forward_chains(ruleset):
        rules = _rules(ruleset, chain)
        others = [rule for rule in rules if not str(rule.get("comment", "")).startswith(_MARK)]
        known = any(rule.get("comment") == _comment(step) for rule in rules)
        if known or (chain.get("policy") != "drop" and not others):
            continue
        where = f"insert rule {_place(chain)}"
        opening, answering = ("oifname", "iifname") if step.towards_tunnel else ("iifname", "oifname")
        comment = f'comment "{_comment(step)}"'
        script += f'{where} {answering} "{step.device}" ct state established,related accept {comment}\n'
        script += f'{where} {opening} "{step.device}" accept {comment}\n'
    return script


def removal(step: Translation, ruleset: Ruleset) -> str:
    """The nft script that takes away all that a step has made."""
    script = "".join(
        f"delete rule {_place(rule)} handle {rule['handle']}\n"
        for rule in _of_kind(ruleset, "rule")
        if rule.get("comment") == _comment(step)
    )
    return script + (f"delete table inet {_table_name(step)}\n" if _has_table(step, ruleset) else "")


def _has_table(step: Translation, ruleset: Ruleset) -> bool:
    return any(t["family"] == "inet" and t["name"] == _table_name(step) for t in _of_kind(ruleset, "table"))


def _forward_chains(ruleset: Ruleset) -> list[dict[str, Any]]:
    return [
        chain
        for chain in _of_kind(ruleset, "chain")
        if chain.get("hook") == "forward"
        and chain.get("type") == "filter"
        and chain["family"] in {"ip", "ip6", "inet"}
        and not str(chain["table"]).startswith("ratbond_")
    ]


def _rules(ruleset: Ruleset, chain: dict[str, Any]) -> list[dict[str, Any]]:
    place = (chain["family"], chain["table"], chain["name"])
    return [r for r in _of_kind(ruleset, "rule") if (r["family"], r["table"], r["chain"]) == place]


def _of_kind(ruleset: Ruleset, kind: str) -> list[dict[str, Any]]:
    return [entry[kind] for entry in ruleset if kind in entry]


def _place(entry: dict[str, Any]) -> str:
    """The chain that an entry is, or is in, as nft's scripts name it."""
    return f"{entry['family']} {entry['table']} {entry.get('chain') or entry['name']}"


def _table_name(step: Translation) -> str:
    return f"ratbond_{step.owner.replace('-', '_')}"


def _comment(step: Translation) -> str:
    return f"{_MARK}{step.owner}"


async def ruleset() -> Ruleset:
    """All tables, chains and rules; without the elements of sets (``-t``), which may be many."""
    listing: dict[str, Ruleset] = json.loads(await _run("", "-j", "-t", "-a", "list", "ruleset"))
    return listing["nftables"]


async def _run(script: str, *arguments: str) -> str:
    """Runs nft: the script in one transaction, or the arguments. Raises OSError with nft's own first words."""
    if not script and not arguments:
        return ""
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *(arguments or ("-f", "-")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise OSError(
            errno.ENOENT, "nft is not installed, which --nat needs (Debian: apt-get install nftables)"
        ) from None
    output, errors = await process.communicate(script.encode())
    if process.returncode:
        first = errors.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise OSError(errno.EINVAL, f"nft: {first[0]}")
    return output.decode()
