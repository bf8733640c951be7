"""A server with many clients, each a process with a key and a link of its own, all downloading at once."""

from __future__ import annotations

import time

from clients import bench_of, server_inner_ipv4

from .load import Listener, cpu_s, rss_mb
from .tunnels import BenchError

COUNTS = (1, 10, 100)
_REACHABLE_WITHIN_S = 20.0


def run(count: int, seconds: int) -> dict[str, float]:
    """Measure a server with this many clients; the figures by name."""
    with bench_of(count) as bench:
        words = bench.invite()
        server = bench.start(bench.server, "server", "server", f"--clients-file={bench.file}")
        bench.wait("server", "listening", 1)
        time.sleep(1)
        bare_mb = rss_mb(server.pid)
        clients = []
        for number, (host, word) in enumerate(zip(bench.clients, words, strict=True), 1):
            clients.append(bench.start(host, f"client-{number}", "client", f"--join-file={word}"))
            if number % 10 == 0:
                bench.wait("server", "the bond is up", number)
        bench.wait("server", "the bond is up", count)
        # The server knows of a bond before the client's tun has its addresses.
        lost, deadline_s = list(range(1, count + 1)), time.monotonic() + _REACHABLE_WITHIN_S
        while lost := bench.unreachable(lost):
            if time.monotonic() > deadline_s:
                raise BenchError(f"clients {lost} cannot be pinged through their tunnels")
        idle_mb = rss_mb(server.pid)

        listeners = [Listener(bench.server, server_inner_ipv4(number)) for number in range(1, count + 1)]
        before = cpu_s(server.pid), sum(cpu_s(client.pid) for client in clients)
        running = [
            listener.call(host, "-R", seconds=seconds)
            for listener, host in zip(listeners, bench.clients, strict=True)
        ]
        done = [outcome() for outcome in running]
        after = cpu_s(server.pid), sum(cpu_s(client.pid) for client in clients)
        gb = sum(one.bytes for one in done) / 1e9
        return {
            "gbps": sum(one.gbps for one in done),
            "server_cpu_s_per_gb": (after[0] - before[0]) / gb,
            "clients_cpu_s_per_gb": (after[1] - before[1]) / gb,
            "server_rss_mb": rss_mb(server.pid),
            "server_idle_kb_per_client": 1000 * (idle_mb - bare_mb) / count,
            "server_loaded_kb_per_client": 1000 * (rss_mb(server.pid) - bare_mb) / count,
        }
