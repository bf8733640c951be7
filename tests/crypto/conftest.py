"""The engine as a process that answers one line a question."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peer import Peer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program() -> Path:
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "-p", "ratbond-proto", "--example", "bond_peer"],
        cwd=ROOT,
        check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "examples" / "bond_peer"


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def start(*args: str) -> Peer:
        peers.append(Peer(program, *args))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()
