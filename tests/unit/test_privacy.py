"""A process that reads a secret: no core dump, and no look into its memory without the right to trace everybody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns  # root, to take a capability away

# Root may read any process's memory by this capability alone; without it root is bound by the flag like everybody.
WITHOUT_TRACING = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
RATBOND = (sys.executable, "-m", "ratbond")


@pytest.fixture
def secret_pipe(tmp_path: Path) -> Path:
    """A --secret-file that does not end: whoever reads it stands still there."""
    pipe = tmp_path / "secret"
    os.mkfifo(pipe, 0o600)
    return pipe


@pytest.fixture(
    params=[("server",), ("client", "--connect-addr=192.0.2.1:1")], ids=lambda arguments: arguments[0]
)
def reading(request: pytest.FixtureRequest, secret_pipe: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in the middle of reading its secret."""
    arguments = (*request.param, f"--secret-file={secret_pipe}", "--nosyslog", "--http-listen-addr=disable")
    process = subprocess.Popen([*WITHOUT_TRACING, *RATBOND, *arguments], stderr=subprocess.DEVNULL)
    writer = os.open(secret_pipe, os.O_WRONLY)  # returns once it is being read
    yield process
    process.kill()
    process.wait()
    os.close(writer)


def can_look_into(process: subprocess.Popen[bytes]) -> bool:
    opening = ["dd", f"if=/proc/{process.pid}/mem", "count=0"]
    return subprocess.run([*WITHOUT_TRACING, *opening], capture_output=True, check=False).returncode == 0


def test_nobody_looks_into_a_process_that_reads_its_secret(reading: subprocess.Popen[bytes]) -> None:
    assert not can_look_into(reading)


def test_an_ordinary_process_of_the_same_rights_can_be_looked_into() -> None:
    with subprocess.Popen([*WITHOUT_TRACING, "sleep", "60"]) as process:
        while "sleep" not in Path(f"/proc/{process.pid}/comm").read_text():
            time.sleep(0.01)
        assert can_look_into(process), "or the test above proves nothing"
        process.kill()


def test_a_process_that_reads_its_secret_leaves_no_core_dump(reading: subprocess.Popen[bytes]) -> None:
    limits = Path(f"/proc/{reading.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_keygen_is_as_careful() -> None:
    program = """if True:
        import ctypes, resource
        from ratbond import cli
        cli.keygen()
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    key, state = done.stdout.splitlines()
    assert len(key) == 64
    assert state == "0 0 0"  # PR_GET_DUMPABLE
