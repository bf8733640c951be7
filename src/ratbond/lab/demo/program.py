"""Programs that run on while the demo does other things, and what they say."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratbond.lab.demo.errors import DemoError
from ratbond.lab.host import Host

_STOP_WITHIN_S = 10.0
_RATBOND = str(Path(sys.executable).with_name("ratbond"))  # the command that this very installation has


@dataclass(frozen=True)
class Line:
    """Something a program said."""

    at_s: float
    text: str


class Program:
    """A running program. A thread reads its lines as they come and notes when."""

    def __init__(
        self, host: Host, *command: str, name: str, on_line: Callable[[str], None] | None = None
    ) -> None:
        self.name = name
        self._lines: list[Line] = []
        self._on_line = on_line
        self._news = threading.Condition()
        # A session of its own: Ctrl-C is for the demo, which then stops the others in order.
        self.process: subprocess.Popen[Any] = host.popen(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it has said."""
        with self._news:
            return "\n".join(line.text for line in self._lines)

    @property
    def last_line(self) -> str:
        """The latest that it said."""
        with self._news:
            return self._lines[-1].text if self._lines else "it said nothing"

    def wait_for(self, pattern: str, *, since_s: float = 0.0, limit_s: float) -> Line:
        """Wait until it says a line in which the pattern is found.

        Raises:
            DemoError: it ended, or did not say so in time.
        """
        found = self.look_for(pattern, since_s=since_s, limit_s=limit_s)
        if found is None:
            how = "ended" if self.process.poll() is not None else f"did not get so far in {limit_s:g} s"
            raise DemoError(f"{self.name} {how}; it said: {self.last_line}")
        return found

    def look_for(self, pattern: str, *, since_s: float = 0.0, limit_s: float) -> Line | None:
        """Wait for a line like that, said after a moment; ``None`` when it does not come in time."""
        deadline_s = time.monotonic() + limit_s
        with self._news:
            while True:
                for line in self._lines:
                    if line.at_s >= since_s and re.search(pattern, line.text):
                        return line
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._reader.is_alive():
                    return None
                self._news.wait(min(left_s, 0.2))

    def finish(self, limit_s: float) -> str:
        """End its standard input, wait for its end, and return all that it said.

        Raises:
            DemoError: it does not end, or with an error.
        """
        try:
            self._close_stdin()
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{self.name} did not end within {limit_s:g} s") from None
        self._reader.join(_STOP_WITHIN_S)
        if code != 0:
            raise DemoError(f"{self.name} failed (exit code {code}); it said: {self.last_line}")
        return self.output

    def stop(self) -> None:
        """Tell it to end, and wait until it has; make it end when it does not."""
        self._close_stdin()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _close_stdin(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with self._news:
                self._lines.append(Line(time.monotonic(), text.rstrip()))
                self._news.notify_all()
            if self._on_line is not None:
                self._on_line(text.rstrip())


def ratbond(host: Host, *arguments: str, on_line: Callable[[str], None] | None = None) -> Program:
    """Start the command ``ratbond``."""
    return Program(host, _RATBOND, *arguments, "--nosyslog", name=f"ratbond {arguments[0]}", on_line=on_line)
