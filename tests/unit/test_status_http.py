"""Who gets to see the status, and what it looks like."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import fields, replace
from pathlib import Path

import httpx
import pytest

from ratbond.errors import RatbondError
from ratbond.models import HostPort
from ratbond.status.access import Access
from ratbond.status.app import health, make_app
from ratbond.status.feed import Feed
from ratbond.status.http import open_socket
from ratbond.status.model import SCHEMA, LinkStatus, Rates, SessionStatus, Status

LINK = LinkStatus(
    id=1, name="wan1", conv=660, state="up", source="10.0.1.2:4000", remote="192.0.2.1:12345", uptime_s=61.0,
    hello_age_s=0.5, rtt_ms=20.5, rttvar_ms=1.0, min_rtt_ms=20.0, rto_ms=500.0, loss=0.015, rates=Rates(8e6, 16e6, 700, 1400),
    tx_packets=10, tx_bytes=1000, rx_packets=20, rx_bytes=2_500_000, wire_tx_datagrams=11, wire_tx_bytes=1100,
    wire_rx_datagrams=22, wire_rx_bytes=2200, segments_sent=12, retransmits=3, fast_retransmits=2, timeouts=1,
    duplicates=0, malformed=0, in_flight_segments=0, in_flight_bytes=0, queued_packets=0, queued_bytes=0, aqm_drops=0,
    overflow_drops=0,
)  # fmt: skip
SESSION = SessionStatus(
    id=0, up=True, peer="ratbond", cipher="aes-256-gcm", uptime_s=3661.0, tun="tun660", rates=Rates(), tx_packets=0, tx_bytes=0, rx_packets=0,
    rx_bytes=0, no_link_drops=0, own_drops=0, requeued_packets=0, links=(LINK,),
)  # fmt: skip
STATUS = Status(
    version="1", role="client", tunnel_id=660, protocol="kcp", encryption="none", scheduler="consistent", mux=1,
    address="192.0.2.1:12345", uptime_s=90061.0, sessions=(SESSION,), warnings=("mind the gap",),
)  # fmt: skip


def fetch(path: str, source: str = "192.168.1.7") -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(lambda: STATUS, Feed(), Access(None)), client=(source, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://ratbond") as client:
            return await client.get(path)

    return asyncio.run(get())


def ask(path: str, source: str = "192.168.1.7") -> tuple[int, str]:
    response = fetch(path, source)
    return response.status_code, response.text


def test_the_json_has_a_schema_number_and_every_counter() -> None:
    status = fetch("/status").json()
    assert status["schema"] == SCHEMA
    link = status["sessions"][0]["links"][0]
    assert (link["name"], link["conv"], link["rto_ms"], link["rates"]["rx_bps"]) == ("wan1", 660, 500.0, 16e6)


def test_the_text_shows_what_stock_shows() -> None:
    code, text = ask("/status.txt")
    assert code == 200
    for word in (
        "wan1",
        "660",
        "up",
        "10.0.1.2:4000",
        "500 ms",
        "20.5 ms",
        "8.0 Mbit/s",
        "2.5 MB",
        "1.5 %",
        "1d 01:01:01",
        "mind the gap",
    ):
        assert word in text, word


def test_health_is_that_there_is_a_bond() -> None:
    response = fetch("/healthz")
    assert (response.status_code, response.text) == (200, "ok: 1 of 1 links up\n")
    assert not health(replace(STATUS, sessions=(replace(SESSION, up=False),)))[0]
    assert health(replace(STATUS, role="server", sessions=()))[0]


def test_the_dashboard_is_there_and_loads_nothing_inline() -> None:
    page = fetch("/")
    assert page.status_code == 200
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|onclick=", page.text)
    for name in re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg))"', page.text):
        assert fetch(f"/{name}").status_code == 200, name
    assert "javascript" in fetch("/main.js").headers["content-type"]


def test_a_taken_default_port_is_gone_without() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = HostPort("127.0.0.1", other.getsockname()[1])
        assert open_socket(taken, is_default=True) is None
        with pytest.raises(RatbondError, match=r"in use; give another address, or `disable`"):
            open_socket(taken, is_default=False)


def test_the_documentation_names_every_field() -> None:
    document = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)`", document))
    for model in (Status, SessionStatus, LinkStatus, Rates):
        assert {f.name for f in fields(model)} <= named
