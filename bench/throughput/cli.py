"""Ours against others at full speed on this machine, in interleaved rounds: Gbit/s, CPU, memory, as ratios."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pages

from ratbond.lab import CommandError, LabError

from . import many, report, trial
from .results import Results, machine
from .tunnels import BenchError, Tunnel, all_tunnels

_ROOT = Path(__file__).resolve().parent.parent.parent
_QUICK = _ROOT / "build" / "bench-quick"


def parser() -> argparse.ArgumentParser:
    """Describe the flags."""
    made = argparse.ArgumentParser(prog="make bench-throughput", description=__doc__)
    made.add_argument("--tunnel", nargs="+", metavar="NAME", help="only these; --list shows them")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=int, default=5, help="of each transfer")
    made.add_argument("--stock", metavar="PATH", help="a stock ratbond, to be measured as well")
    made.add_argument(
        "--clients",
        nargs="*",
        type=int,
        default=list(many.COUNTS),
        help="of one server; none: leave that out",
    )
    made.add_argument("--bulk-only", action="store_true", help="neither paced nor small packets")
    made.add_argument(
        "--quick", action="store_true", help="one round, into build/bench-quick, without many clients"
    )
    made.add_argument("--report-only", action="store_true", help="measure nothing; write the tables anew")
    made.add_argument("--list", action="store_true", help="show the tunnels, and what they lack")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; what goes wrong is one line."""
    options = parser().parse_args(arguments)
    # So that its namespaces go however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench-throughput: told to end"))
    folder = _QUICK if options.quick else _ROOT / "docs"
    path = folder / "performance.json"
    try:
        tunnels = _chosen(all_tunnels(options.stock), options.tunnel)
        if options.list:
            for tunnel in tunnels:
                print(f"{tunnel.name:14} {tunnel.missing() or tunnel.words}")
            return
        results = Results.load(path) if options.report_only else _measure(options, tunnels, path)
        _write(results, folder)
    except (BenchError, CommandError, LabError) as error:
        sys.exit(f"bench-throughput: {error}")
    except KeyboardInterrupt:
        sys.exit("bench-throughput: interrupted")


def _measure(options: argparse.Namespace, tunnels: list[Tunnel], path: Path) -> Results:
    if os.geteuid() != 0:
        raise BenchError("network namespaces need root; run it with sudo")
    able = _able(tunnels)
    results = Results(_version(), machine(), options.seconds, {one.name: one.words for one in able})
    plan = trial.Plan(options.seconds, paced=not options.bulk_only, small=not options.bulk_only)
    rounds = 1 if options.quick else options.rounds
    for _ in range(rounds):
        for tunnel in able:
            try:
                figures = trial.run(tunnel, plan)
            except (BenchError, CommandError) as error:
                results.troubles.append(f"{tunnel.name}: {error}")
                print(results.troubles[-1], file=sys.stderr, flush=True)
                continue
            results.rounds.setdefault(tunnel.name, []).append(figures)
            print(tunnel.name, *(f"{name}={value:.4g}" for name, value in figures.items()), flush=True)
            results.save(path)
    for count in () if options.quick else options.clients:
        for kind in many.kinds(count):
            label, figures = kind.label(count), many.run(count, kind, options.seconds)
            results.many.setdefault(label, []).append(figures)
            print(f"{label}:", *(f"{name}={value:.4g}" for name, value in figures.items()), flush=True)
            results.save(path)
    return results


def _chosen(tunnels: list[Tunnel], names: list[str] | None) -> list[Tunnel]:
    known = [tunnel.name for tunnel in tunnels]
    if strange := [name for name in names or () if name not in known]:
        raise BenchError(f"there is no {strange[0]}: choose from {', '.join(known)} (stock needs --stock)")
    return [tunnel for tunnel in tunnels if tunnel.name in (names or known)]


def _able(tunnels: list[Tunnel]) -> list[Tunnel]:
    able = []
    for tunnel in tunnels:
        if reason := tunnel.missing():
            print(f"skipped {tunnel.name}: {reason}", file=sys.stderr)
        else:
            able.append(tunnel)
    if not able:
        raise BenchError("no tunnel is left to measure")
    return able


def _write(results: Results, folder: Path) -> None:
    page = folder / "performance.md"
    before = page.read_text() if page.exists() else ""
    try:
        page.write_text(pages.insert(before, report.tables(results), "make bench-throughput"))
    except ValueError as error:
        raise BenchError(f"{page}: {error}") from None
    print(f"wrote {os.path.relpath(page)}")


def _version() -> str:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
