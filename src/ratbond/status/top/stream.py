"""Reads the status server's stream of server-sent events, in a thread that wakes the screen."""

from __future__ import annotations

import http.client
import json
import os
import queue
import threading
from collections.abc import Iterator
from typing import Any, Final

from ratbond.errors import RatbondError
from ratbond.models import HostPort
from ratbond.status.client import connect, nobody_answers, not_ratbond

_RETRY_S: Final = 1.0

Message = tuple[str, Any]


def messages(address: HostPort) -> Iterator[Message]:
    """Pairs of a message's name and its data, until the other end closes. Raises RatbondError with one line."""
    connection = connect(address)
    try:
        connection.request("GET", "/events")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise _refusal(address, response)
        name = ""
        for raw in response:
            field, _, value = raw.decode().rstrip("\r\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)
    except TimeoutError:
        raise RatbondError(f"ratbond at {address} has gone silent") from None
    except OSError as error:
        raise nobody_answers(address, error) from None
    except (http.client.HTTPException, ValueError):
        raise not_ratbond(address) from None
    finally:
        connection.close()


def _refusal(address: HostPort, response: http.client.HTTPResponse) -> RatbondError:
    if response.status not in {http.client.FORBIDDEN, http.client.SERVICE_UNAVAILABLE}:
        return not_ratbond(address)
    return RatbondError(response.read(1000).decode(errors="replace").strip())


class Follower:
    """Follows for as long as the program runs, and begins anew when the stream breaks."""

    def __init__(self, address: HostPort) -> None:
        self._address = address
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended = threading.Event()
        threading.Thread(target=self._follow, name="stream", daemon=True).start()

    def take(self) -> Iterator[Message]:
        """What has come since. ``lost`` with a reason stands for a stream that broke."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return
        while not self._queue.empty():
            yield self._queue.get()

    def close(self) -> None:
        """Lets the thread end at its next message; nobody waits for it."""
        self._ended.set()

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                for message in messages(self._address):
                    self._put(message)
                    if self._ended.is_set():
                        return
                self._put(("lost", "ratbond has ended"))
            except RatbondError as error:
                self._put(("lost", str(error)))
            self._ended.wait(_RETRY_S)

    def _put(self, message: Message) -> None:
        self._queue.put(message)
        os.eventfd_write(self.wake_fd, 1)
