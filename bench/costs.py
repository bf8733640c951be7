"""Whether links that cost are spared, and packets that matter arrive: tiers, a quota and second copies in the lab.

    sudo .venv/bin/python bench/costs.py [secondary quota redundant] [--seconds 20]

``secondary``: dsl_lte with LTE as a secondary link under 50 and 100 Mbit/s of UDP, then DSL pulled beside a stream of 200
packets a second. ``quota``: a quota that is used up over three clients, two of which are killed. ``redundant``: the same
stream over two links of 5 % loss each, every packet on both. Prints a row of Markdown for each figure.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from scenarios.catalogue import Scenario, Target, WanLink
from scenarios.contenders import Place, Tunnel
from scenarios.contenders.base import pings
from scenarios.contenders.ours import RATBOND, links_up, status
from scenarios.errors import BenchError
from scenarios.load import Streaming, UdpOutcome, udp

from ratbond.lab import CommandError, Lab, LabError
from ratbond.secret import generate

_STREAM = (200, 8, 172)  # packets a second, flows, bytes
_TUNNEL = Tunnel("10.10.10.2", "10.10.10.1", ["tun660"], ["tun660"])
_DSL_LTE = (WanLink(80, 16), WanLink(30, 60, 0.005, "jitter=4ms"))
_FIVE_PERCENT = (WanLink(50, 20, 0.05), WanLink(50, 40, 0.05))
_PLAIN = (WanLink(50, 20), WanLink(50, 20))
_QUOTA_MB = 60
_QUOTA_LOAD_MBPS = 20


def row(what: str, figure: str, wanted: str) -> None:
    print(f"| {what} | {figure} | {wanted} |", flush=True)


class Ends:
    """Both ends in a lab; the client can be killed and started again."""

    def __init__(self, place: Place, links: str, *flags: str) -> None:
        self.place = place
        both = (*flags, "--nosyslog", f"--secret-file={place.write('secret', generate())}")
        connect = f'connect_addr = "{place.lab.server_ipv4}:12345"\nno_default_route = true\n'
        file = place.write("client.toml", connect + links)
        self._client = (RATBOND, "client", f"--config={file}", *both, "--tunnel-id=660")
        self._starts = 0
        place.start(place.lab.server, RATBOND, "server", *both, name="server")

    def start_client(self, links: int) -> None:
        self._starts += 1
        kept = {"STATE_DIRECTORY": str(self.place.folder)}
        lab = self.place.lab
        self.place.start(lab.client, *self._client, name=f"client-{self._starts}", env=kept)
        self.place.wait(lambda: links_up(lab.client) == links == links_up(lab.server), "the links")
        self.place.wait(lambda: pings(lab.client, _TUNNEL.server_ipv4), "a ping")
        time.sleep(2)

    def kill_client(self) -> None:
        client = self.place.processes.pop()
        client.send_signal(signal.SIGKILL)
        client.wait()


@contextmanager
def ends(wans: tuple[WanLink, ...], links: str, *flags: str) -> Iterator[Ends]:
    with (
        tempfile.TemporaryDirectory(prefix="rb-costs-") as folder,
        Lab.up([wan.spec for wan in wans], name="costs") as lab,
    ):
        place = Place(lab, Scenario("costs", wans, Target()), Path(folder))
        try:
            yield Ends(place, links, *flags)
        finally:
            place.stop()


def carried(lab: Lab) -> list[int]:
    """Bytes that each link has delivered, both ways."""
    return [link["up"]["delivered_bytes"] + link["down"]["delivered_bytes"] for link in lab.stats()["links"]]


def load(lab: Lab, mbps: float, seconds: int) -> tuple[UdpOutcome, float]:
    """Download UDP; what came of it, and the second link's share of all bytes."""
    before = carried(lab)
    done = udp(lab, _TUNNEL, mbps, 8, seconds)
    both = [late - early for early, late in zip(before, carried(lab), strict=True)]
    return done, both[1] / sum(both)


def secondary(seconds: int) -> None:
    with ends(_DSL_LTE, '[links.wan2]\ntier = "secondary"\n') as running:
        running.start_client(2)
        lab = running.place.lab
        for mbps in (50, 100):
            done, share = load(lab, mbps, seconds)
            arrived_mbps = mbps * (1 - done.lost / done.packets)
            wanted = "50 Mbit/s, < 1 %" if mbps == 50 else ">= 95 Mbit/s"
            row(
                f"{mbps} Mbit/s of UDP, LTE secondary",
                f"{arrived_mbps:.1f} Mbit/s, {share:.2%} of the bytes on LTE",
                wanted,
            )
        stream = Streaming(lab, _TUNNEL, *_STREAM)
        time.sleep(3)
        with lab.links[0].interface_pulled():
            time.sleep(5)
            up = links_up(lab.client)
        time.sleep(3)
        told = stream.outcome()
        lost = sum(int(way["lost"] or 0) for way in told.values())
        sent = sum(int(way["sent"] or 0) for way in told.values())
        silence = max(way["flow_silence_ms"] or 0 for way in told.values())
        row(
            "DSL pulled for 5 s",
            f"{lost} of {sent:,} lost, {up} link up, longest silence {silence:.0f} ms",
            "0 lost",
        )


def quota(_seconds: int) -> None:
    links = f'no_wan = ["wan1"]\n[links.wan2]\nquota = "{_QUOTA_MB}MB/month"\n'
    with ends(_PLAIN, links) as running:
        lab = running.place.lab

        def tier() -> str:
            links = (link for session in status(lab.client)["sessions"] for link in session["links"])
            return str(next(links)["tier"])

        for killed in range(2):
            running.start_client(1)
            udp(lab, _TUNNEL, _QUOTA_LOAD_MBPS, 1, 5 + killed)
            running.kill_client()
        running.start_client(1)
        udp(lab, _TUNNEL, _QUOTA_LOAD_MBPS, 1, 10)
        stream = Streaming(lab, _TUNNEL, 200, 8, 1000)  # slow, as asking for the status takes its time
        try:
            wait(lambda: tier() == "backup")
            at = carried(lab)[1]
        finally:
            stream.stop()
        row(
            f"a quota of {_QUOTA_MB} MB, client killed twice on the way",
            f"backup after {at / 1e6:.2f} MB ({at / 1e6 / _QUOTA_MB - 1:+.2%})",
            "within 1 %",
        )


def redundant(seconds: int) -> None:
    with ends(_FIVE_PERCENT, "", "--balance-redundant") as running:
        running.start_client(2)
        stream = Streaming(running.place.lab, _TUNNEL, *_STREAM)
        time.sleep(3 * seconds)
        for way, told in stream.outcome().items():
            sent, lost = int(told["sent"] or 0), int(told["lost"] or 0)
            row(
                f"redundant over 5 % loss twice (20 and 40 ms), {way}",
                f"{lost} of {sent:,} lost, {told['twice']} twice, one way {told['delay_p50_ms']:.1f} ms median, "
                f"{told['delay_p99_ms']:.1f} ms p99",
                "<= 0.3 % lost, 0 twice",
            )


def wait(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchError("the quota is never used up")
        time.sleep(0.02)


PARTS = {"secondary": secondary, "quota": quota, "redundant": redundant}


def main() -> None:
    """Reads the flags and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    if strange := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {strange[0]}: choose from {', '.join(PARTS)}")
    print("| what | measured | wanted |\n|---|---|---|", flush=True)
    for part in options.parts or PARTS:
        try:
            PARTS[part](options.seconds)
        except (BenchError, CommandError, LabError) as error:
            sys.exit(f"costs: {part}: {error}")


if __name__ == "__main__":
    main()
