"""The engine alone: how soon has a server met many named clients that knock at once, and what does a session cost?

    .venv/bin/python bench/handshakes.py [--clients 100] [--runs 5]

Server and clients are engines in this one process, over loopback, without tun devices: what is measured is the handshakes
and the sessions' memory, not the start of programs (bench/clients.py has those). A client's engine is a thread of its own.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ratbond.engine import Engine, public_key
from ratbond.secret import generate

if TYPE_CHECKING:
    from ratbond.engine import NamedClient

PATIENCE_S = 60.0


def rss_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1000


def named(number: int, private_key: str, psk: str) -> NamedClient:
    return {
        "name": f"client-{number}",
        "tunnel_id": number,
        "public_key": public_key(private_key),
        "psk": psk,
        "addresses": [],
        "lan": [],
        "cap_tx_bps": None,
        "cap_rx_bps": None,
        "reaches_clients": False,
        "revoked": False,
    }


def run(count: int) -> tuple[float, float, float]:
    """Seconds to the last session, CPU seconds of all of it, and kB a client for both its ends."""
    server_key = generate()
    keys = [(generate(), generate()) for _ in range(count)]
    server = Engine(
        role="server", protocol="bond", tunnel_id=660, scheduler="consistent", private_key=server_key,
        listen=("127.0.0.1", 0),
    )  # fmt: skip
    server.set_clients([named(number, *pair) for number, pair in enumerate(keys, 1)])
    address = server.local_address
    if address is None:
        raise SystemExit("the server does not listen")
    before_kb = rss_kb()
    clients = [
        Engine(
            role="client", protocol="bond", tunnel_id=660, scheduler="consistent", private_key=private_key,
            server_key=public_key(server_key), psk=psk,
        )
        for private_key, psk in keys
    ]  # fmt: skip
    began_s, cpu_s = time.monotonic(), time.process_time()
    for client in clients:
        client.add_link("lo", device=None, source=None, remote=address)
    up = 0
    while up < count:
        if not select.select([server.event_fd], [], [], PATIENCE_S)[0]:
            raise SystemExit(f"only {up} of {count} clients came in")
        up += sum(event.kind == "session_up" for event in server.events())
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    grown_kb = rss_kb() - before_kb
    for engine in (*clients, server):
        engine.close()
    return took_s, cpu_s, grown_kb / count


def main() -> None:
    """Runs it and prints the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    results = [run(options.clients) for _ in range(options.runs)]
    took_s = sorted(took for took, _, _ in results)
    cpu_ms = 1000 * statistics.median(cpu for _, cpu, _ in results) / options.clients
    print(f"{options.clients} clients, {options.runs} runs, load average {os.getloadavg()[0]:.1f}")
    print(
        f"all sessions up after {statistics.median(took_s):.3f} s (median), {took_s[-1]:.3f} s (worst); "
        f"{cpu_ms:.2f} ms of CPU a client, both ends"
    )
    print(f"{results[0][2]:.0f} kB a client, both ends' engines, in the first run")


if __name__ == "__main__":
    main()
