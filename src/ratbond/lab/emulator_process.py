"""The background process that holds a lab's emulator.

It is started inside the emulator's namespace, reads one line of JSON (:class:`Setup`) from its standard input, says
``ready`` or ``error TEXT`` on its standard output, and then answers requests, one line of JSON each, on a Unix socket.
With ``owned``, the end of its standard input ends it: so it does not outlive a test run that was killed.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

from ratbond.lab.emulator import Emulator, EngineError

if TYPE_CHECKING:
    from ratbond.lab.emulator import LinkSettings


class LinkSetup(TypedDict):
    """One link: its two interfaces in the emulator's namespace, and its settings."""

    client_port: str
    server_port: str
    up: LinkSettings
    down: LinkSettings


class Setup(TypedDict):
    """What the process is told when it starts."""

    socket: str
    seed: int
    owned: bool
    links: list[LinkSetup]


class Server:
    """Answers requests, one at a time, until it is told to stop."""

    def __init__(self, setup: Setup) -> None:
        self._links = setup["links"]
        self._emulator = Emulator(
            [(link["client_port"], link["server_port"], link["up"], link["down"]) for link in self._links],
            seed=setup["seed"],
        )
        self._path = Path(setup["socket"])
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen()
        self._stopping = False

    def serve(self, lifeline: IO[str] | None) -> None:
        """Answer until told to stop, or until the lifeline, an open file, ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            if lifeline is not None:
                selector.register(lifeline, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select():
                    if key.fileobj is not self._listener:
                        return
                    self._answer_one()

    def close(self) -> None:
        """Stop the emulator and take the socket away."""
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._emulator.close()

    def _answer_one(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(1.0)
        # A client that goes away or says nothing is no reason to stop.
        with connection, contextlib.suppress(OSError), connection.makefile("rw") as stream:
            line = stream.readline()
            if line:
                stream.write(json.dumps(self._answer(line)) + "\n")

    def _answer(self, line: str) -> dict[str, Any]:
        try:
            request = json.loads(line)
            match request["op"]:
                case "set":
                    number, direction, changes = request["link"], request["direction"], request["changes"]
                    self._emulator.set(number, direction, **changes)
                    self._links[number][direction].update(changes)
                    return {}
                case "stats":
                    return {"stats": self._emulator.stats(), "links": self._links}
                case "stop":
                    self._stopping = True
                    return {}
                case unknown:
                    return {"error": f"unknown request {unknown!r}"}
        except (EngineError, ValueError, KeyError, TypeError, OverflowError) as error:
            return {"error": str(error)}


def main() -> None:
    """Run the process; see the module's text."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command in front, which ends this one
    setup: Setup = json.loads(sys.stdin.readline())  # and nothing follows: what is readable later is the end
    try:
        server = Server(setup)
    except (EngineError, ValueError, OSError) as error:
        print(f"error {error}", flush=True)
        sys.exit(1)
    print("ready", flush=True)
    sys.stdout.close()
    try:
        server.serve(sys.stdin if setup["owned"] else None)
    finally:
        server.close()


if __name__ == "__main__":
    main()
