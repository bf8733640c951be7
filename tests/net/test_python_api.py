"""The Python API inside somebody's program, and the three examples as a person would run them.

::

    rb-NAME-cli: the program ─ wan1, wan2 ═ emulator ═ rb-NAME-srv: ratbond server
"""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.net.bond import PORT, SWITCHES, Bond, UdpStream, until
from tests.net.kernel_state import state

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

REPOSITORY = Path(__file__).parents[2]


class Program:
    """A Python program on the client's host."""

    def __init__(self, bond: Bond, path: str, *arguments: str) -> None:
        self._output = bond.file(f"{Path(path).stem}.out")
        through = [str(REPOSITORY / "tests/net/without_offload.py")] if SWITCHES else []
        with self._output.open("w") as output:
            self._process = bond.lab.client.popen(
                sys.executable, "-Werror", *through, str(REPOSITORY / path), *arguments,
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._output.read_text()

    def says(self, words: str) -> None:
        until(lambda: words in self.output or self._process.poll() is not None)
        assert words in self.output, self.output

    def interrupt(self) -> str:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> str:
        assert self._process.wait(timeout=30) == 0, self.output
        return self.output


@pytest.fixture
def example(bond: Bond) -> tuple[str, ...]:
    """What every example takes; a server is there."""
    secret = bond.file("secret")
    secret.touch(mode=0o600)
    secret.write_text("7f" * 32)
    server = bond.server(f"--secret-file={secret}")
    until(lambda: "listening" in server.log, server)
    return f"--connect-addr={bond.lab.server_ipv4}:{PORT}", f"--secret-file={secret}"


def test_a_bond_is_a_good_guest_in_a_program(bond: Bond) -> None:
    """No signal handler, no logging, no task is left; errors are exceptions; links go and come; and all is put back."""
    server = bond.server()
    until(lambda: "listening" in server.log, server)
    before = state(bond.lab.client)
    program = Program(bond, "tests/net/embedded.py", f"{bond.lab.server_ipv4}:{PORT}")
    assert program.end() == "a good guest\n"
    assert state(bond.lab.client) == before


def test_the_quota_example_takes_out_a_link_and_no_other(bond: Bond, example: tuple[str, ...]) -> None:
    before = state(bond.lab.client)
    program = Program(bond, "examples/quota.py", *example, "--quota=wan1=0.2")
    until(bond.ping)
    stream = UdpStream(bond.lab)
    program.says("wan1 has carried 0.")
    until(bond.ping)
    down = bond.lab.link("wan1").stats()["down"]["delivered_bytes"]
    until(lambda: len(stream.received) > 0)
    assert stream.finish() == set()
    assert bond.lab.link("wan1").stats()["down"]["delivered_bytes"] - down < 2_000
    assert program.interrupt().endswith("everything is put back\n")
    assert state(bond.lab.client) == before


def test_the_alert_example_tells_of_a_lost_link_and_of_its_return(
    bond: Bond, example: tuple[str, ...]
) -> None:
    program = Program(bond, "examples/alert.py", *example, "--", "echo", "ALERT:")
    program.says("links up: 2")
    with bond.lab.link("wan2").interface_pulled():
        program.says("ALERT: wan2 left the bond (interface down); links up: 1")
    until(lambda: "wan2 joined the bond" in program.output.partition("wan2 left the bond")[2])
    assert "everything is put back" in program.interrupt()


def test_the_export_example_writes_a_line_for_each_link_and_second(
    bond: Bond, example: tuple[str, ...]
) -> None:
    table = bond.file("links.csv")
    program = Program(bond, "examples/export_csv.py", *example, f"--output={table}", "--seconds=4")
    assert program.end() == ""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    up = [row for row in rows if row["state"] == "up"]
    assert {row["link"] for row in up} == {"wan1", "wan2"}
    assert all(15 < float(row["rtt_ms"]) < 200 for row in up[-2:])
