"""How many Mbit/s the lab's emulator carries, and what that costs.

    sudo .venv/bin/python bench/emulator.py [--seconds 5]

Each row is a lab of its own with one link of 10 ms RTT and a TCP download over it (iperf3), or 8 such links at an
eighth of the rate each. The machine also runs both ends of TCP, so a rate that is not reached is not always the
emulator's fault; `too slow` counts the packets that it did not take in time, and then it is.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

from ratbond.lab import Host, Lab

_QUEUE = "queue=50ms"


@dataclass(frozen=True)
class Measured:
    links: int
    asked_mbps: float
    carried_mbps: float
    packets_per_s: float
    emulator_cores: float
    too_slow_packets: int


def measure(links: int, rate_mbps: float, seconds: float) -> Measured:
    spec = f"{rate_mbps / links}mbit,10ms,{_QUEUE}"
    with Lab.up([spec] * links, name="bench") as lab:
        for link in lab.links:
            start_server(lab.server, 5201 + link.number)
        wait_for_servers(lab.server, links)
        started_s, before = time.monotonic(), lab.stats()
        clients = [
            lab.client.popen(
                *("iperf3", "-c", lab.server_ipv4, "-p", str(5201 + link.number), "-R"),
                *("-B", link.ipv4, "--bind-dev", link.name, "-t", str(seconds + 2)),
                stdout=-3,
            )
            for link in lab.links
        ]
        time.sleep(1)  # TCP's start is not what is measured
        started_s, before = time.monotonic(), lab.stats()
        time.sleep(seconds)
        elapsed_s, after = time.monotonic() - started_s, lab.stats()
        for client in clients:
            client.wait()
    both = [
        (b[way], a[way])
        for b, a in zip(before["links"], after["links"], strict=True)
        for way in ("up", "down")
    ]
    carried = sum(a["delivered_bytes"] - b["delivered_bytes"] for b, a in both)
    packets = sum(a["delivered_packets"] - b["delivered_packets"] for b, a in both)
    late = sum(a["emulator_dropped_packets"] - b["emulator_dropped_packets"] for b, a in both)
    cores = (after["cpu_s"] - before["cpu_s"]) / elapsed_s
    return Measured(links, rate_mbps, carried * 8e-6 / elapsed_s, packets / elapsed_s, cores, late)


def start_server(server: Host, port: int) -> None:
    server.popen("iperf3", "-s", "-p", str(port), stdout=-3)


def wait_for_servers(server: Host, count: int) -> None:
    while len(server.run("ss", "-Hltn").stdout.splitlines()) < count:
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each row")
    options = parser.parse_args()
    if not options.json:
        print("links   asked Mbit/s   carried Mbit/s   packets/s   emulator cores   too slow")
    for links, rate_mbps in [(1, 10), (1, 100), (1, 500), (8, 500), (1, 1000), (1, 2000)]:
        row = measure(links, rate_mbps, options.seconds)
        if options.json:
            print(json.dumps(vars(row)), flush=True)
        else:
            print(
                f"{row.links:5} {row.asked_mbps:14,.0f} {row.carried_mbps:16,.1f} {row.packets_per_s:11,.0f}"
                f" {row.emulator_cores:16.2f} {row.too_slow_packets:10,}",
                flush=True,
            )


if __name__ == "__main__":
    main()
