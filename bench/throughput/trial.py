"""One tunnel once: everything that is asked of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .load import cpu_s, download, paced, rss_mb, small_packets
from .tunnels import Running, Tunnel

PACED_MBPS = 100
_IDLE_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    seconds: int = 5
    flows: tuple[int, ...] = (1, 8)
    paced: bool = True
    small: bool = True


def run(tunnel: Tunnel, plan: Plan) -> dict[str, float]:
    """Measure a tunnel; the figures by name."""
    figures: dict[str, float] = {}
    with tunnel.up() as running:
        time.sleep(1)
        _idle(running, figures)
        for flows in plan.flows:
            done, cost_s = download(running, flows, plan.seconds)
            figures[f"gbps.{flows}"] = done.gbps
            if cost_s:
                figures[f"cpu_s_per_gb.{flows}"] = sum(cost_s.values()) / (done.bytes / 1e9)
        for end, process in running.processes.items():
            figures[f"rss_loaded_mb.{end}"] = rss_mb(process.pid)
        if plan.paced and running.processes:
            for end, share in paced(running, PACED_MBPS, plan.seconds).items():
                figures[f"paced_core_share.{end}"] = share
        if plan.small:
            figures["small_pps"] = small_packets(running)
    return figures


def _idle(running: Running, figures: dict[str, float]) -> None:
    before = {end: cpu_s(process.pid) for end, process in running.processes.items()}
    if before:
        time.sleep(_IDLE_S)
    for end, process in running.processes.items():
        figures[f"rss_idle_mb.{end}"] = rss_mb(process.pid)
        figures[f"idle_core_share.{end}"] = (cpu_s(process.pid) - before[end]) / _IDLE_S
