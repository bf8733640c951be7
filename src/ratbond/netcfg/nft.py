"""Runs nft(8), and reads what it says."""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any

Ruleset = list[dict[str, Any]]


async def run(script: str) -> None:
    """Runs a script in one transaction. Raises OSError when nft is missing or refuses."""
    if script:
        await _run(script, "-f", "-")


async def ruleset() -> Ruleset:
    """All tables, chains and rules; without the elements of sets (``-t``), which may be many. Raises OSError."""
    listing: dict[str, Ruleset] = json.loads(await _run("", "-j", "-t", "-a", "list", "ruleset"))
    return listing["nftables"]


async def _run(script: str, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise OSError(
            errno.ENOENT,
            "nft is not installed, which --nat, --lan and port forwards need (Debian: apt-get install nftables)",
        ) from None
    output, errors = await process.communicate(script.encode())
    if process.returncode:
        first = errors.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise OSError(errno.EINVAL, f"nft: {first[0]}")
    return output.decode()
