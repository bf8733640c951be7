"""The tables of docs/performance.md. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .results import Results

_REFERENCE = "wireguard-go"
_LIMIT = "offload-limit"
_STOCK = "stock"
_OURS = "bond-2"
_NOTHING = "-"


def tables(results: Results) -> str:
    """Make everything that stands between the markers."""
    parts = [_conditions(results), _legend(results), _throughput(results), _costs(results), _memory(results)]
    if results.many:
        parts.append(_many(results))
    if verdicts := targets(results):
        rows = [
            [what, f"{value:.2f}", aim, "yes" if kept else "**no**"] for what, value, aim, kept in verdicts
        ]
        parts.append(table(["target", "measured", "aim", "reached"], rows))
    parts += [f"- {trouble}\n" for trouble in results.troubles]
    return "\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Make a Markdown table."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def targets(results: Results) -> list[tuple[str, float, str, bool]]:
    """Hold the bond of two links to what it should do: words, figure, aim, whether it is reached."""
    found = []

    def hold(what: str, value: float | None, other: float | None, aim: float, *, most: bool = False) -> None:
        if value is not None and other:
            ratio = value / other
            kept = ratio <= aim if most else ratio >= aim
            found.append((what, ratio, f"{'at most' if most else 'at least'} {aim:g}", kept))

    def get(figure: str, tunnel: str = _OURS) -> float | None:
        return results.median(tunnel, figure)

    hold("one flow, over wireguard-go's", get("gbps.1"), get("gbps.1", _REFERENCE), 1.7)
    hold("one flow, over stock ratbond's", get("gbps.1"), get("gbps.1", _STOCK), 10)
    hold("one flow, over the offload limit", get("gbps.1"), get("gbps.1", _LIMIT), 0.5)
    hold("8 flows, over one", get("gbps.8"), get("gbps.1"), 1)
    cost = "cpu_s_per_gb.1"
    hold("CPU seconds a GB, over wireguard-go's", get(cost), get(cost, _REFERENCE), 0.5, most=True)
    hold("64-byte packets a second, over wireguard-go's", get("small_pps"), get("small_pps", _REFERENCE), 2)
    shares = [get(f"paced_core_share.{end}") for end in ("client", "server")]
    busiest = max((share for share in shares if share is not None), default=None)
    hold("100 Mbit/s paced, per cent of a core, busier end", busiest, 0.01, 8, most=True)
    hold("idle client, MB", get("rss_idle_mb.client"), 1, 60, most=True)
    return found


def _number(value: float | None, digits: int = 2) -> str:
    return _NOTHING if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.1f} %"


def _conditions(results: Results) -> str:
    rounds = max((len(rounds) for rounds in results.rounds.values()), default=0)
    return (
        f"{results.machine}; both ends and iperf3 on it. ratbond {results.version}; medians of {rounds} interleaved "
        f"rounds, transfers of {results.seconds} s.\n"
    )


def _legend(results: Results) -> str:
    return table(["name", "what it is"], [[name, results.words[name]] for name in results.rounds]).replace(
        "---:", "---"
    )


def _rows(results: Results, cells: Callable[[str], list[str]]) -> list[list[str]]:
    return [[name, *cells(name)] for name in results.rounds]


def _throughput(results: Results) -> str:
    def cells(name: str) -> list[str]:
        def over(other: str) -> str:
            own, reference = results.median(name, "gbps.1"), results.median(other, "gbps.1")
            return _number(own / reference if own is not None and reference else None)

        rates = [_number(results.median(name, f"gbps.{flows}")) for flows in (1, 8)]
        small = _number(results.median(name, "small_pps"), 0)
        return [*rates, over(_REFERENCE), over(_LIMIT), small]

    head = [
        "tunnel",
        "Gbit/s, 1 flow",
        "8 flows",
        f"1 flow over {_REFERENCE}",
        f"over {_LIMIT}",
        "64-byte packets/s",
    ]
    return table(head, _rows(results, cells))


def _costs(results: Results) -> str:
    def cells(name: str) -> list[str]:
        cpu = [_number(results.median(name, f"cpu_s_per_gb.{flows}")) for flows in (1, 8)]
        shares = [f"{kind}_core_share.{end}" for kind in ("paced", "idle") for end in ("client", "server")]
        return cpu + [_percent(results.median(name, share)) for share in shares]

    head = [
        "tunnel",
        "CPU s/GB, 1 flow",
        "8 flows",
        "100 Mbit/s paced: client",
        "server",
        "idle: client",
        "server",
    ]
    return table(head, _rows(results, cells))


def _memory(results: Results) -> str:
    def cells(name: str) -> list[str]:
        kinds = [f"rss_{state}_mb.{end}" for end in ("client", "server") for state in ("idle", "loaded")]
        return [_number(results.median(name, kind), 1) for kind in kinds]

    return table(["tunnel", "RSS MB, client idle", "loaded", "server idle", "loaded"], _rows(results, cells))


def _many(results: Results) -> str:
    figures = ("gbps", "server_cpu_s_per_gb", "clients_cpu_s_per_gb", "server_rss_mb")
    kilobytes = ("server_idle_kb_per_client", "server_loaded_kb_per_client")
    head = [
        "clients",
        "Gbit/s together",
        "server CPU s/GB",
        "clients CPU s/GB",
        "server RSS MB",
        "kB a client, idle",
        "loaded",
    ]
    rows = [
        [
            clients,
            *(_number(results.of_many(clients, figure)) for figure in figures),
            *(_number(results.of_many(clients, figure), 0) for figure in kilobytes),
        ]
        for clients in results.many
    ]
    return table(head, rows)
