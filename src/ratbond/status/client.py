"""Asks a running daemon for its status."""

from __future__ import annotations

import http.client
import json
from typing import Any

from ratbond.errors import RatbondError
from ratbond.models import HostPort


def fetch(address: HostPort) -> dict[str, Any]:
    """The status as plain data. Raises RatbondError with one line."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    connection = http.client.HTTPConnection(host, address.port, timeout=5)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise RatbondError(
            f"nobody answers at {address}: {error.strerror or error}; is ratbond running, with that --http-listen-addr?"
        ) from None
    except http.client.HTTPException:
        raise RatbondError(
            f"what answers at {address} does not speak HTTP; give ratbond's --http-listen-addr"
        ) from None
    finally:
        connection.close()
    if response.status == http.client.FORBIDDEN:
        raise RatbondError(body.decode(errors="replace").strip())
    try:
        status: dict[str, Any] = json.loads(body)
        _ = status["schema"], status["sessions"]
    except (ValueError, KeyError, TypeError):
        raise RatbondError(
            f"what answers at {address} is not ratbond; give ratbond's --http-listen-addr"
        ) from None
    return status
