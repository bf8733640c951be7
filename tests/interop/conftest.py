"""The peers of the interoperability tests: kcp-go in a small program of ours, and a stock ratbond where one is given."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.net.bond import offload_as_asked

__all__ = ["offload_as_asked"]

ROOT = Path(__file__).resolve().parents[2]
KCPPEER = Path(__file__).parent / "kcppeer"
GO_NEEDED = (1, 23)  # kcppeer/go.mod


def _go_version(go: str) -> tuple[int, int]:
    said = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout
    match = re.match(r"go(\d+)\.(\d+)", said)
    assert match is not None, said
    return int(match[1]), int(match[2])


@pytest.fixture(scope="session")
def kcppeer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peer of kcp-go v5, built from tests/interop/kcppeer."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain to build the kcp-go peer with")
    if _go_version(go) < GO_NEEDED:
        pytest.skip(f"the kcp-go peer needs Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or newer")
    binary = tmp_path_factory.mktemp("kcppeer") / "kcppeer"
    subprocess.run(
        [go, "build", "-trimpath", "-o", str(binary), "."],
        cwd=KCPPEER,
        check=True,
        env=os.environ | {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
    )
    return binary


@pytest.fixture(scope="session")
def kcp_echo() -> Path:
    """Our KCP as an echo server; `cargo test` has built it already when both run."""
    subprocess.run(
        ["cargo", "build", "--locked", "--quiet", "-p", "ratbond-io", "--example", "kcp_echo"],
        cwd=ROOT,
        check=True,
    )
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples/kcp_echo"


Server = Callable[..., str]
Dial = Callable[..., dict[str, Any]]


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    """Runs a server; gives the address in its first line, in which it says where it listens."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None, f"{command[0]} does not listen"
            yield address[0]
            assert process.poll() is None, f"{command[0]} has ended with {process.returncode}"
        finally:
            process.kill()


@pytest.fixture
def echo(kcp_echo: Path) -> Iterator[Server]:
    """Starts our echo server with these flags; gives its address."""
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(_running([str(kcp_echo), "127.0.0.1:0", *flags]))


@pytest.fixture
def dial(kcppeer: Path) -> Dial:
    """Lets the kcp-go peer dial an address with these flags; gives what it reports."""

    def dial(address: str, *flags: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(kcppeer), "dial", address, *flags], capture_output=True, text=True, check=False
        )
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report

    return dial
