"""The figures of docs/benchmarks.md as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from .catalogue import SCENARIOS, Kind, Scenario
from .contenders import CONTENDERS
from .results import Results

_OURS_FIRST = list(CONTENDERS)
_NOTHING = "-"


def markdown(results: Results, plots: Iterable[str] = ()) -> str:
    """Make all that stands between the markers; plots are the files to show."""
    contenders = [name for name in _OURS_FIRST if name in results.contenders()]
    parts = [_conditions(results), _legend(contenders), _overview(results, contenders)]
    parts += [f"![{name}]({name})\n" for name in plots]
    for scenario in SCENARIOS:
        if any(results.of(scenario.name, contender) for contender in contenders):
            parts.append(_section(results, scenario, contenders))
    return "\n".join(parts)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Make a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, digits: int = 1) -> str:
    """Write a figure, or a dash for one that is missing."""
    return _NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share in per cent."""
    return _NOTHING if value is None else f"{value * 100:.{digits}f} %"


def _legend(contenders: list[str]) -> str:
    return table(["contender", "what it is"], [[name, CONTENDERS[name].words] for name in contenders])


def _overview(results: Results, contenders: list[str]) -> str:
    rows = []
    for scenario in SCENARIOS:
        if scenario.kind in (Kind.THROUGHPUT, Kind.VARYING):
            figures = ("down.cubic.1.goodput_mbps", "down.cubic.6.goodput_mbps", "down.cubic.6.ping_p99_ms")
            cells = [
                " / ".join(number(results.median(scenario.name, name, figure), 0) for figure in figures)
                for name in contenders
            ]
            rows.append([scenario.name, number(scenario.bound_mbps), _aim(scenario), *cells])
    title = "## Download: 1 flow / 6 flows in Mbit/s / p99 of ping in ms\n\n"
    return title + table(["scenario", "bound", "our aim", *contenders], rows)


def _aim(scenario: Scenario) -> str:
    target = scenario.target
    goodputs = [
        f"{share:.0%}" if share is not None else number(mbps, 0)
        for mbps, share in (
            (target.one_flow_mbps, target.one_flow_share),
            (target.six_flows_mbps, target.six_flows_share),
        )
    ]
    return " / ".join([*goodputs, f"idle + {number(target.ping_over_idle_ms, 0)}"])


def _section(results: Results, scenario: Scenario, contenders: list[str]) -> str:
    here = [name for name in contenders if results.of(scenario.name, name)]
    make = {Kind.PULLED: _pulled, Kind.OVERHEAD: _overhead}.get(scenario.kind, _throughput)
    body = make(results, scenario, here) + "\n" + verdicts(results, scenario, here)
    troubles = sorted(
        {
            f"- {entry.contender}, seed {entry.seed}: {trouble}"
            for name in here
            for entry in results.of(scenario.name, name)
            for trouble in entry.troubles
        }
    )
    return f"## {scenario.name}: {scenario.words}\n\n{body}" + "".join(f"{line}\n" for line in troubles)


def _throughput(results: Results, scenario: Scenario, contenders: list[str]) -> str:
    head = [
        "contender",
        "seeds",
        "down 1",
        "down 6",
        "BBR 1",
        "BBR 6",
        "up 1",
        "up 6",
        "up BBR 1",
        "up BBR 6",
    ]
    head += [
        "ramp s",
        "ping idle p99",
        "ping p99",
        "call p99 ms",
        "call lost",
        "UDP out of order",
        "UDP lost",
    ]
    head += ["AQM drops"]
    rows = []
    for name in contenders:

        def get(figure: str, contender: str = name) -> float | None:
            return results.median(scenario.name, contender, figure)

        goodputs = [
            number(get(f"{way}.{congestion}.{flows}.goodput_mbps"))
            for way in ("down", "up")
            for congestion in ("cubic", "bbr")
            for flows in (1, 6)
        ]
        others = [number(get("down.cubic.1.ramp_s")), number(get("idle.ping_p99_ms"))]
        others += [number(get("down.cubic.6.ping_p99_ms")), number(get("call.down.delay_p99_ms"))]
        others += [number(get("call.down.lost"), 0), percent(get("udp.out_of_order_share"), 2)]
        others += [number(get("udp.lost"), 0), number(get("down.cubic.6.aqm_drops"), 0)]
        rows.append([name, str(len(results.of(scenario.name, name))), *goodputs, *others])
    told = [at for at in range(len(head)) if any(row[at] != _NOTHING for row in rows)]
    return table([head[at] for at in told], [[row[at] for at in told] for row in rows])


def _pulled(results: Results, scenario: Scenario, contenders: list[str]) -> str:
    head = ["contender", "seeds"]
    for how in ("blackhole", "interface"):
        head += [
            f"{how}: lost up",
            "lost down",
            "silence up ms",
            "silence down ms",
            "AQM drops",
            "TCP Mbit/s",
        ]
    rows = []
    for name in contenders:
        cells = [name, str(len(results.of(scenario.name, name)))]
        for how in ("blackhole", "interface"):
            figures = (
                "up.lost",
                "down.lost",
                "up.silence_ms",
                "down.silence_ms",
                "aqm_drops",
                "goodput_mbps",
            )
            cells += [number(results.median(scenario.name, name, f"{how}.{one}"), 0) for one in figures]
        rows.append(cells)
    return table(head, rows)


def _overhead(results: Results, scenario: Scenario, contenders: list[str]) -> str:
    head = ["contender", "seeds", "WAN over tunnel, download", "upload", "6 flows down", "6 flows up"]
    rows = [
        [
            name,
            str(len(results.of(scenario.name, name))),
            *(
                percent(results.median(scenario.name, name, f"{way}.cubic.6.overhead"))
                for way in ("down", "up")
            ),
            *(
                number(results.median(scenario.name, name, f"{w}.cubic.6.goodput_mbps"))
                for w in ("down", "up")
            ),
        ]
        for name in contenders
    ]
    return table(head, rows)


def verdicts(results: Results, scenario: Scenario, contenders: list[str]) -> str:
    """Hold our contenders to the targets."""
    lines = []
    for name in contenders:
        held = list(_targets(results, scenario, name)) if CONTENDERS[name].is_ours else []
        missed = [text for text, kept in held if not kept]
        if missed:
            lines.append(f"- {name} misses: {'; '.join(missed)}\n")
        elif held:
            lines.append(f"- {name} reaches its aims: {len(held)} figures\n")
    return "".join(lines)


def _targets(results: Results, scenario: Scenario, contender: str) -> Iterable[tuple[str, bool]]:
    target = scenario.target

    def get(figure: str) -> float | None:
        return results.median(scenario.name, contender, figure)

    at_least = []
    for way in ("down", "up"):
        for flows, mbps, share in (
            (1, target.one_flow_mbps, target.one_flow_share),
            (6, target.six_flows_mbps, target.six_flows_share),
        ):
            at_least += [
                (f"{way}.cubic.{flows}.goodput_mbps", mbps),
                (f"{way}.cubic.{flows}.offered_share", share),
            ]
    for figure, aim in at_least:
        value = get(figure)
        if aim is not None and value is not None:
            yield f"{figure} {value:.3g}, aim {aim:g}", value >= aim
    idle_ms = get("idle.ping_p99_ms")
    at_most = [("down.cubic.1.ramp_s", target.ramp_s)]
    if target.ping_over_idle_ms is not None and idle_ms is not None:
        at_most.append(("down.cubic.6.ping_p99_ms", idle_ms + target.ping_over_idle_ms))
    at_most += [(f"{way}.cubic.6.overhead", target.overhead) for way in ("down", "up")]
    at_most.append(("udp.out_of_order_share", 0.001))
    if scenario.kind is Kind.PULLED:
        for how, silence_ms in (("blackhole", 100.0), ("interface", 40.0)):
            for way in ("up", "down"):
                at_most += [(f"{how}.{way}.lost", 0.0), (f"{how}.{way}.silence_ms", silence_ms)]
    if scenario.name == "dsl_lte":
        at_most += [("call.down.lost", 0.0), ("call.down.delay_p99_ms", 35.0)]
    for figure, ceiling in at_most:
        value = get(figure)
        if ceiling is not None and value is not None:
            yield f"{figure} {value:.3g}, aim at most {ceiling:.3g}", value <= ceiling
    yield from _against_best_link(results, scenario, contender)


def _against_best_link(results: Results, scenario: Scenario, contender: str) -> Iterable[tuple[str, bool]]:
    """Hold a bond to what the same tunnel does on its best link alone, within 3 %."""
    for flows in (1, 6):
        figure = f"down.cubic.{flows}.goodput_mbps"
        alone = results.median(scenario.name, "bond-one", figure)
        together = results.median(scenario.name, contender, figure)
        if alone is not None and together is not None and contender != "bond-one":
            text = f"{figure} {together:.3g}, the best link alone {alone:.3g}"
            yield text, together >= 0.97 * alone


def _conditions(results: Results) -> str:
    versions = sorted({entry.version for entry in results.entries})
    seconds = sorted({entry.seconds for entry in results.entries})
    late = sum(entry.figures.get("emulator_dropped_packets", 0) for entry in results.entries)
    busiest = max((entry.load_average for entry in results.entries), default=0.0)
    return (
        f"ratbond {', '.join(versions)}; transfers of {', '.join(map(str, seconds))} s;"
        f" load average of the machine before a trial at most {busiest:.1f}; the emulator was too slow for"
        f" {late:.0f} packets (0 in a sound measurement).\n"
    )
