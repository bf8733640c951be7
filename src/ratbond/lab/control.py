"""Starting the emulator's process, talking to it, ending it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ratbond.lab.errors import LabError

if TYPE_CHECKING:
    from ratbond.lab.emulator import EmulatorStats, LinkSettings
    from ratbond.lab.emulator_process import LinkSetup, Setup
    from ratbond.lab.host import Host
    from ratbond.linkspec import Direction

_ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ProcessId:
    """A process, told apart from a later one of the same number by when it began."""

    pid: int
    started_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Look a process up; ``None`` when there is none, or it has ended and nobody has asked how."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # Fields 3 and 22 of proc_pid_stat(5); the second, in parentheses, may hold anything.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def own(cls) -> ProcessId:
        """Name the calling process."""
        found = cls.of(os.getpid())
        if found is None:
            raise LabError("the lab needs /proc; mount it")
        return found

    def is_alive(self) -> bool:
        """Say whether this very process still runs."""
        return ProcessId.of(self.pid) == self


class Control:
    """The emulator of a lab, as other processes reach it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self, link: int, direction: Direction, changes: LinkSettings) -> None:
        """Change settings of one direction of a link, counted from 0."""
        self._ask({"op": "set", "link": link, "direction": direction, "changes": changes})

    def stats(self) -> EmulatorStats:
        """Read the counters."""
        stats: EmulatorStats = self._ask({"op": "stats"})["stats"]
        return stats

    def settings(self) -> list[LinkSetup]:
        """Read what every link is told to be."""
        links: list[LinkSetup] = self._ask({"op": "stats"})["links"]
        return links

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWER_TIMEOUT_S)
                connection.connect(str(self._path))
                with connection.makefile("rw") as stream:
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                    answer: dict[str, Any] = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise LabError("the lab's emulator does not answer; take the lab down and up again") from error
        if "error" in answer:
            raise LabError(answer["error"])
        return answer


def start(wan: Host, setup: Setup) -> tuple[ProcessId, IO[str] | None]:
    """Start the emulator's process, and return it with its lifeline when it is owned.

    Raises:
        LabError: it did not start; the text is its own.
    """
    process = subprocess.Popen(
        wan.command(sys.executable, "-m", "ratbond.lab.emulator_process"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if setup["owned"] else subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(setup) + "\n")
    process.stdin.flush()
    with process.stdout:
        said = process.stdout.readline().strip()
    identity = ProcessId.of(process.pid)
    if said != "ready" or identity is None:
        process.stdin.close()
        process.wait()
        raise LabError(said.removeprefix("error ") or "the lab's emulator did not start")
    _leave_to_itself(process)
    if setup["owned"]:
        return identity, process.stdin
    process.stdin.close()
    return identity, None


def _leave_to_itself(process: subprocess.Popen[str]) -> None:
    """Keep :mod:`subprocess` from warning that the process still runs when its object goes."""
    process.returncode = 0
