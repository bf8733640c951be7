"""Asks the server over each link on its own: bond/1 by a REQUEST, kcp by joining a link and leaving again."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any, Final

from ratbond.config import ClientConfig
from ratbond.daemon.start import make_engine
from ratbond.doctor.handshake import Challenge, Knock, OtherVersion, mapping_changes
from ratbond.doctor.model import Answers
from ratbond.engine import Engine, EngineError
from ratbond.links.model import WanLink
from ratbond.secret import link_key

Remote = tuple[str, int]

_REQUESTS: Final = 5
_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 2.0  # after the last request: a satellite's round trip, and then some
_JOIN_WITHIN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.02
_WORDS: Final = {
    errno.ECONNREFUSED: "the server's machine answers, but nothing listens on that port there",
    errno.EHOSTUNREACH: "a router answers that the server cannot be reached",
    errno.ENETUNREACH: "there is no route to the server over this link",
    errno.EPERM: "a firewall on this machine drops what is sent to the server",
    errno.EACCES: "a firewall on the way forbids it",
}


def knock_of(config: ClientConfig) -> Knock:
    """What the configuration's secret or key opens a handshake with."""
    if config.invitation:
        return Knock.named(config.invitation.server_key)
    return Knock.shared(link_key(config.passphrase() or ""))


def by_request(link: WanLink, remote: Remote, knock: Knock) -> Answers:
    """Sends five REQUESTs from one socket and waits for the answers; the server keeps nothing of it."""
    family = socket.AF_INET if link.source.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.device.encode())
            asking.bind((str(link.source), 0))
            asking.connect(remote)
            asking.setblocking(False)
            return _Questions(asking, knock).ask(link.device)
    except OSError as error:
        return Answers(link.device, _REQUESTS, refused=_in_words(error))


class _Questions:
    def __init__(self, asking: socket.socket, knock: Knock) -> None:
        self._socket = asking
        self._knock = knock
        self._sent: dict[bytes, float] = {}
        self._round_trips_ms: list[float] = []
        self._cookies: list[bytes] = []
        self._refused = ""
        self._version = ""

    def ask(self, device: str) -> Answers:
        for _ in range(_REQUESTS):
            request = self._knock.request()
            self._sent[request] = time.monotonic()
            try:
                self._socket.send(request)
            except OSError as error:
                self._refused = _in_words(error)
            self._listen(_PAUSE_S)
        self._listen(_PATIENCE_S)
        answered = bool(self._round_trips_ms)
        return Answers(
            device, _REQUESTS, tuple(self._round_trips_ms), "" if answered else self._refused, self._version,
            mapping_changes(self._cookies),
        )  # fmt: skip

    def _listen(self, seconds: float) -> None:
        """Reads for so long, or until nothing more can come."""
        until = time.monotonic() + seconds
        while self._sent and (left := until - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            try:
                self._take(self._socket.recv(2048))
            except BlockingIOError:
                continue
            except OSError as error:
                self._refused = _in_words(error)
                self._sent.popitem()  # an ICMP error is an answer, too

    def _take(self, datagram: bytes) -> None:
        now = time.monotonic()
        for request, sent in self._sent.items():
            match self._knock.read(datagram, request):
                case Challenge(cookie=cookie):
                    self._round_trips_ms.append((now - sent) * 1000)
                    self._cookies.append(cookie)
                case OtherVersion(oldest=oldest, newest=newest):
                    self._version = f"{oldest} to {newest}, this one speaks 1"
                case None:
                    continue
            del self._sent[request]
            return


def by_joining(config: ClientConfig, link: WanLink, remote: Remote) -> Answers:
    """Joins one link as a client would, waits until it is up, and leaves. Only for when no client runs: the newest wins."""
    try:
        engine = make_engine(config.model_copy(update={"mux": 1, "trace": False}))
    except EngineError as error:
        return Answers(link.device, 1, refused=str(error))
    try:
        engine.add_link(link.device, device=link.device, source=str(link.source), remote=remote)
        return _joined(engine, link.device)
    except EngineError as error:
        return Answers(link.device, 1, refused=str(error))
    finally:
        engine.close()


def _joined(engine: Engine, device: str) -> Answers:
    until = time.monotonic() + _JOIN_WITHIN_S
    refused = ""
    while time.monotonic() < until:
        for event in engine.events():
            if event.kind == "refused":
                refused = f"what comes back is refused: {event.detail}"
        link = _first_link(engine)
        if link and link["state"] == "up" and link["rtt_ms"] > 0:
            return Answers(device, 1, (link["rtt_ms"],))
        time.sleep(_LOOK_EVERY_S)
    return Answers(device, 1, refused=refused)


def _first_link(engine: Engine) -> Any:
    return next((link for session in engine.snapshot() for link in session["links"]), None)


def _in_words(error: OSError) -> str:
    return _WORDS.get(error.errno or 0, f"the kernel refuses to send: {error.strerror}")
