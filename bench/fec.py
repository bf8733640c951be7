"""Whether forward error correction would serve a call better than repairs and copies do.

    .venv/bin/python bench/fec.py

Simulated: a stream for 10 minutes over one link, and over two, that lose packets at random: as the adaptive scheduler sends it, and over both at once.
Beside it FEC at its best, by drawing lots: a parity packet after every four packets, at once and over the other link where
there is one, every single loss of a group repaired when its last packet is there, two losses never. What is compared is the delay
beyond the link's own that 99 % of the packets keep; "lost" where more than that never come. Prints a table in Markdown.
"""

from __future__ import annotations

import random

from ratbond.sim import Link, Simulation
from ratbond.sim.simulation import Balance

SECONDS = 600
GROUP = 4
SHARE = 0.99
LOST = float("inf")


def simulated(links: int, balance: Balance, rtt_ms: int, loss: float, packets_per_s: float) -> float:
    """What is kept beyond the one-way delay, in ms."""
    bond = Simulation([Link(f"20mbit,{rtt_ms}ms,{100 * loss:g}%") for _ in range(links)], balance=balance)
    stream = bond.stream(packets_per_s, stop_s=SECONDS)
    datagrams = bond.run(SECONDS + 3).load(stream).datagrams
    delays = [LOST if d.delay_ms is None else d.delay_ms - rtt_ms / 2 for d in datagrams]
    return _kept(delays)


def fec_at_best(loss: float, packets_per_s: float) -> float:
    """The same of FEC; the links' number makes no difference to lots that are drawn one by one."""
    lots = random.Random(1)
    spacing_ms = 1000 / packets_per_s
    delays = []
    for _ in range(int(SECONDS * packets_per_s / GROUP)):
        lost = [lots.random() < loss for _ in range(GROUP + 1)]
        repaired = sum(lost) == 1
        for number in range(GROUP):
            late = (GROUP - 1 - number) * spacing_ms
            delays.append((late if repaired else LOST) if lost[number] else 0.0)
    return _kept(delays)


def _kept(delays: list[float]) -> float:
    return sorted(delays)[int(SHARE * len(delays))]


def _ms(value: float) -> str:
    return "lost" if value == LOST else f"{value:.0f} ms"


def main() -> None:
    print("| packets/s | loss | round trip | one link | two links | two, redundant | FEC at best |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    ways: list[tuple[int, Balance]] = [(1, "adaptive"), (2, "adaptive"), (2, "redundant")]
    for packets_per_s in (50, 200):
        for loss in (0.01, 0.05, 0.1):
            for rtt_ms in (20, 60, 200):
                cells = [_ms(simulated(*way, rtt_ms, loss, packets_per_s)) for way in ways]
                cells.append(_ms(fec_at_best(loss, packets_per_s)))
                print(
                    f"| {packets_per_s} | {100 * loss:g} % | {rtt_ms} ms | {' | '.join(cells)} |", flush=True
                )


if __name__ == "__main__":
    main()
