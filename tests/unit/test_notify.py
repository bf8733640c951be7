"""What the service manager hears."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratbond.daemon.notify import ServiceManager, in_words
from ratbond.daemon.reporting import sample_of, session_status
from ratbond.status.model import Status

from .fakes import link_snapshot, session_snapshot


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(manager.recv(4096).decode())
    except BlockingIOError:
        return messages


def status(*links: dict[str, object], up: bool = True, role: str = "client") -> Status:
    snapshot = session_snapshot(*(link_snapshot(**link) for link in links), up=up)
    sample = sample_of([snapshot], 1.0)
    return Status(
        "0", role, 660, "kcp", "none", "consistent", 1, "192.0.2.1:12345", 0.0,
        sessions=(session_status(snapshot, sample, sample),),
    )  # fmt: skip


def told(environment: dict[str, str], seconds: float = 0.05) -> None:
    async def run() -> None:
        service_manager = ServiceManager(environment)
        service_manager.ready()
        try:
            async with asyncio.timeout(seconds):
                await service_manager.keep_told(lambda: status({"id": 1}))
        except TimeoutError:
            pass
        service_manager.stopping()

    asyncio.run(run())


def test_it_hears_that_the_daemon_is_ready_what_it_does_and_that_it_stops(
    manager: socket.socket, tmp_path: Path
) -> None:
    told({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    first, second, last = heard(manager)
    assert first == "READY=1"
    assert second.startswith("STATUS=the bond is up: wan1 up, ")
    assert last.startswith("STOPPING=1")


def test_the_watchdog_is_fed_more_often_than_it_bites(manager: socket.socket, tmp_path: Path) -> None:
    told({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}, seconds=0.3)
    messages = heard(manager)
    assert sum("WATCHDOG=1" in message for message in messages) >= 2
    assert sum("STATUS=the bond is up" in message for message in messages) == 1, "only what is new"


def test_a_watchdog_that_waits_for_another_process_is_not_fed(manager: socket.socket, tmp_path: Path) -> None:
    other = {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid() + 1)}
    told({"NOTIFY_SOCKET": str(tmp_path / "notify")} | other, seconds=0.1)
    assert not any("WATCHDOG" in message for message in heard(manager))


def test_an_abstract_socket_is_one_too() -> None:
    name = f"ratbond-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        told({"NOTIFY_SOCKET": f"@{name}"})
        assert heard(listening)[0] == "READY=1"


def test_without_a_service_manager_and_with_a_deaf_one_all_goes_on(tmp_path: Path) -> None:
    told({})
    told({"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def test_a_client_that_waits_says_for_whom_and_over_what() -> None:
    waiting = status({"id": 1, "state": "connecting"}, {"id": 2, "name": "wan2", "state": "dead"}, up=False)
    assert in_words(waiting) == "waiting for 192.0.2.1:12345: wan1 connecting, wan2 dead"
    assert in_words(status(up=False)) == "waiting for 192.0.2.1:12345: no WAN link"


def test_a_link_with_one_conversation_up_is_up() -> None:
    words = in_words(status({"id": 1, "state": "suspect"}, {"id": 2, "conv": 661}))
    assert words.startswith("the bond is up: wan1 up, tx")


def test_a_server_says_how_many_are_connected() -> None:
    assert "1 connected" in in_words(status({"id": 1}, role="server"))
    assert "no client" in in_words(status(up=False, role="server"))
