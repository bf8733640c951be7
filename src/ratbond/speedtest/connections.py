"""Connections of asyncio's stream servers as tasks that may be cancelled: those that Python 3.11 makes print a traceback of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def as_tasks(handle: Handle) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """What a server is to call for a connection."""
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    return connected
