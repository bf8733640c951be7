"""Downloads with iperf3: TCP from server to client, with CUBIC, whatever this machine's default is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ratbond.lab.demo.errors import DemoError

WARM_UP_S = 1  # slow start, not counted
_LATELY_S = 2.0


@dataclass(frozen=True)
class Download:
    """What iperf3 measured at the receiving end."""

    rate_mbps: float  # payload of all flows, without the warm-up
    flows: int
    alive_flows: int  # of these, how many still received something in the last 2 s


def command(address: str, *, flows: int, seconds: int, device: str = "", source: str = "") -> tuple[str, ...]:
    """The command that downloads from a server of iperf3; bound to a device and its address if they are given."""
    bound = ("--bind-dev", device, "-B", source) if device else ()
    timing = ("-t", str(seconds), "-O", str(WARM_UP_S), "-i", "0.5")
    return ("iperf3", "-c", address, "-R", "-C", "cubic", "-P", str(flows), *timing, *bound, "-J")


def read(text: str) -> Download:
    """Read the JSON that iperf3 prints.

    Raises:
        DemoError: iperf3 says that it failed, or nothing that can be read.
    """
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError:
        raise DemoError(f"iperf3 said no JSON but: {text.strip()[:200] or 'nothing'}") from None
    if "error" in said:
        raise DemoError(f"iperf3: {said['error']}")
    if not said.get("intervals"):
        raise DemoError("iperf3 ended with no result")
    intervals = said["intervals"]
    end_s = intervals[-1]["sum"]["end"]
    late = [interval for interval in intervals if interval["sum"]["end"] > end_s - _LATELY_S]
    alive = {stream["socket"] for interval in late for stream in interval["streams"] if stream["bytes"] > 0}
    return Download(
        rate_mbps=said["end"]["sum_received"]["bits_per_second"] / 1e6,
        flows=len(said["end"]["streams"]),
        alive_flows=len(alive),
    )
