"""The figures as pictures (PNG)."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from .catalogue import SCENARIOS, Kind, Scenario
from .contenders import CONTENDERS
from .results import Results

_FILLED = [one for one in SCENARIOS if one.kind in (Kind.THROUGHPUT, Kind.VARYING)]
_RAMPS = ("equal", "dsl_lte")


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw all that there are figures for, and say which files were written."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    contenders = [name for name in CONTENDERS if name in results.contenders()]
    written = []
    for file, figure, title in (
        ("goodput-1.png", "down.cubic.1.goodput_mbps", "Download, 1 flow, CUBIC: share of the bound"),
        ("goodput-6.png", "down.cubic.6.goodput_mbps", "Download, 6 flows, CUBIC: share of the bound"),
        ("ping.png", "down.cubic.6.ping_p99_ms", "p99 of ping while 6 flows download, ms"),
    ):
        if _bars(results, contenders, figure, title, folder / file):
            written.append(folder / file)
    written += [folder / f"ramp-{name}.png" for name in _RAMPS if _ramp(results, contenders, name, folder)]
    return written


def _bars(results: Results, contenders: list[str], figure: str, title: str, path: Path) -> bool:
    scenarios = [one for one in _FILLED if any(results.median(one.name, c, figure) for c in contenders)]
    if not scenarios:
        return False
    canvas, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    width = 0.85 / len(contenders)
    for number, contender in enumerate(contenders):
        heights = [_height(results, scenario, contender, figure) for scenario in scenarios]
        places = [index + number * width for index in range(len(scenarios))]
        axes.bar(places, heights, width, label=contender)
    if figure.endswith("goodput_mbps"):
        axes.axhline(1.0, color="grey", linewidth=0.8)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize="x-small")
    axes.set_title(title)
    axes.set_xticks([index + 0.4 for index in range(len(scenarios))], [one.name for one in scenarios])
    canvas.legend(loc="outside lower center", fontsize="small", ncols=len(contenders))
    canvas.savefig(path, dpi=100)
    plt.close(canvas)
    return True


def _height(results: Results, scenario: Scenario, contender: str, figure: str) -> float:
    if not figure.endswith("goodput_mbps"):
        return results.median(scenario.name, contender, figure) or 0.0
    if scenario.kind is Kind.VARYING:  # the bound is another one for each seed
        share = figure.replace("goodput_mbps", "offered_share")
        return results.median(scenario.name, contender, share) or 0.0
    return (results.median(scenario.name, contender, figure) or 0.0) / scenario.bound_mbps


def _ramp(results: Results, contenders: list[str], scenario: str, folder: Path) -> bool:
    lines = [
        (name, entry.series["down.cubic.1"])
        for name in contenders
        for entry in results.of(scenario, name)[:1]
        if "down.cubic.1" in entry.series
    ]
    if not lines:
        return False
    canvas, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for name, rates in lines:
        axes.plot([*accumulate(seconds for seconds, _ in rates)], [rate for _, rate in rates], label=name)
    axes.set_title(f"{scenario}: one download from its start, Mbit/s (first seed)")
    axes.set_xlabel("s")
    axes.set_xlim(0, 12)
    axes.set_ylim(bottom=0)
    canvas.legend(loc="outside lower center", fontsize="small", ncols=len(lines))
    canvas.savefig(folder / f"ramp-{scenario}.png", dpi=100)
    plt.close(canvas)
    return True
