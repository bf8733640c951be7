"""What happens in the demo, in order."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ratbond.lab.demo import download
from ratbond.lab.demo.download import Download
from ratbond.lab.demo.errors import DemoError
from ratbond.lab.demo.meter import Meter, shares
from ratbond.lab.demo.picture import LinkView, Picture
from ratbond.lab.demo.probe import Progress, Trace
from ratbond.lab.demo.program import Program, ratbond
from ratbond.lab.demo.report import MANY_FLOWS, Pull, Rates, Report
from ratbond.lab.host import Host
from ratbond.lab.lab import Lab
from ratbond.lab.link import Link
from ratbond.secret import generate

LINKS = ("80mbit,16ms", "30mbit,60ms,jitter=4ms,loss=0.5%")
_TUNNEL_SERVER = "10.10.10.1"
_PORT = 12345
_START_S = 20.0  # patience with whatever starts
_STRAGGLE_S = 15.0  # and with whatever should have ended


@dataclass(frozen=True)
class Timing:
    """How long things last, in seconds."""

    download: int  # each one that is measured
    bond: int  # each one over the bond: a flow that fills two unequal links takes some seconds to find both
    alone: float  # the call, before the downloads begin
    before: float  # the downloads, before the link is pulled
    down: float
    after: float

    @classmethod
    def of(cls, download: int) -> Timing:
        """Fit the rest to the length of a download: 5 s is a demo, 1 s a test."""
        return cls(
            download,
            2 * download,
            1.0,
            before=min(3, download),
            down=min(5, download + 1),
            after=min(5, download + 2),
        )


def link_views() -> list[LinkView]:
    """The links as the picture shows them."""
    return [LinkView(f"wan{number}", spec, _rate_mbps(spec)) for number, spec in enumerate(LINKS, 1)]


def perform(name: str, picture: Picture, timing: Timing) -> Report:
    """Do everything and say what came of it. What was started is ended, whatever happens.

    Raises:
        DemoError, LabError: it cannot go on.
    """
    began_s = time.monotonic()
    picture.act("making two WAN links between network namespaces of this machine")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.up(LINKS, name=name))
        meter = stack.enter_context(Meter(lab))
        picture.scene.meter = meter
        alone = tuple(_measure_link(lab, link, picture, timing) for link in lab.links)
        client, up_after_s = _bond(lab, picture, stack)
        bond = _measure_bond(lab, meter, picture, timing)
        pull = _pull(lab, meter, client, picture, timing, stack)
        dropped = sum(
            link[direction]["emulator_dropped_packets"]
            for link in lab.stats()["links"]
            for direction in ("up", "down")
        )
        picture.act("stopping both ends")
    return Report(alone, bond, up_after_s, pull, dropped, time.monotonic() - began_s)


def _rate_mbps(spec: str) -> float:
    found = re.match(r"(\d+)mbit", spec)
    assert found is not None  # LINKS are ours
    return float(found[1])


def _serve_download(server: Host) -> Program:
    """A server for one download: between two, iperf3's own is deaf for a moment that nobody is told the end of."""
    iperf3 = Program(server, "iperf3", "-s", "-1", "--forceflush", name="iperf3 -s")
    iperf3.wait_for("Server listening", limit_s=_START_S)
    return iperf3


def _download(lab: Lab, command: tuple[str, ...], seconds: int) -> Download:
    server = _serve_download(lab.server)
    try:
        limit_s = seconds + download.WARM_UP_S + _STRAGGLE_S
        return download.read(lab.client.run(*command, check=False, timeout_s=limit_s).stdout)
    finally:
        server.stop()


def _measure_link(lab: Lab, link: Link, picture: Picture, timing: Timing) -> Rates:
    """Plain TCP over one WAN, without ratbond."""
    rates: list[float] = []
    for flows in (1, MANY_FLOWS):
        picture.act(f"{link.name} alone, {_flows(flows)}")
        command = download.command(
            lab.server_ipv4, flows=flows, seconds=timing.download, device=link.name, source=link.ipv4
        )
        rates.append(_download(lab, command, timing.download).rate_mbps)
    picture.note(f"{link.name} alone: {rates[0]:.1f} Mbit/s with 1 flow, {rates[1]:.1f} with {MANY_FLOWS}")
    one, many = rates
    return Rates(link.name, LINKS[link.number - 1], one, many)


def _bond(lab: Lab, picture: Picture, stack: ExitStack) -> tuple[Program, float]:
    """Start both ends, and wait until the tunnel carries packets over both links."""
    picture.act("bonding them")
    secret = Path(stack.enter_context(TemporaryDirectory(prefix="ratbond-demo-"))) / "secret"
    picture.note("$ (umask 077; ratbond keygen > secret)")
    secret.touch(0o600)
    secret.write_text(f"{generate()}\n")
    picture.note("$ ratbond server --secret-file=secret")
    server = ratbond(lab.server, "server", f"--secret-file={secret}")
    stack.callback(server.stop)
    server.wait_for("listening", limit_s=_START_S)
    address = f"--connect-addr={lab.server_ipv4}:{_PORT}"
    picture.note(f"$ ratbond client {address} --secret-file=secret")
    began_s = time.monotonic()
    client = ratbond(lab.client, "client", address, f"--secret-file={secret}", on_line=_follow(picture))
    stack.callback(client.stop)
    client.wait_for(rf"links_up={len(lab.links)}", limit_s=_START_S)
    while lab.client.run("ping", "-c1", "-W1", _TUNNEL_SERVER, check=False).returncode != 0:
        if time.monotonic() > began_s + _START_S:
            raise DemoError(
                f"{_TUNNEL_SERVER} does not answer through the tunnel; the client said: {client.last_line}"
            )
        time.sleep(0.05)
    return client, time.monotonic() - began_s


def _follow(picture: Picture) -> Callable[[str], None]:
    """Show what the client says of its links."""
    states = {"joined the bond": "in the bond", "left the bond": "left the bond", "does not answer": "silent"}

    def on_line(line: str) -> None:
        for said, state in states.items():
            for link in picture.scene.links:
                if said in line and f"link={link.name} " in line:
                    link.state = state
                    picture.note(line.partition(": ")[2])

    return on_line


def _measure_bond(lab: Lab, meter: Meter, picture: Picture, timing: Timing) -> Rates:
    rates, carried = [], []
    for flows in (1, MANY_FLOWS):
        picture.act(f"the bond, {_flows(flows)}")
        before = meter.read()
        command = download.command(_TUNNEL_SERVER, flows=flows, seconds=timing.bond)
        rates.append(_download(lab, command, timing.bond).rate_mbps)
        carried.append(shares(before, meter.read()))
    picture.note(f"the bond: {rates[0]:.1f} Mbit/s with 1 flow, {rates[1]:.1f} with {MANY_FLOWS}")
    return Rates("the bond", "", rates[0], rates[1], carried[0], carried[1])


def _pull(
    lab: Lab, meter: Meter, client: Program, picture: Picture, timing: Timing, stack: ExitStack
) -> Pull:
    """Set the link down that carries a call, under downloads, and up again."""
    picture.act("a call: 200 UDP packets a second to the server and back")
    before = meter.read()
    probe = Program(
        Host(lab.client.namespace), sys.executable, "-m", "ratbond.lab.demo.probe",
        lab.client.namespace, lab.server.namespace, _TUNNEL_SERVER,
        name="the probe", on_line=_show_call(picture),
    )  # fmt: skip
    stack.callback(probe.stop)
    probe.wait_for("sent", limit_s=_START_S)
    time.sleep(timing.alone)
    carried = shares(before, meter.read())
    link = lab.links[carried.index(max(carried))]
    view = picture.scene.links[link.number - 1]
    downloads = _start_downloads(lab, picture, timing, stack)
    time.sleep(timing.before)
    picture.act(f"{link.name} is pulled: ip link set {link.name} down")
    pulled_s = time.monotonic()
    link.interface_down()
    view.state = "interface down"
    time.sleep(timing.down)
    picture.keep()
    picture.act(f"{link.name} is back: ip link set {link.name} up")
    restored_s = time.monotonic()
    link.interface_up()
    joined = client.look_for(f"joined the bond link={link.name} ", since_s=restored_s, limit_s=_START_S)
    left = client.look_for(f"left the bond link={link.name} ", since_s=pulled_s, limit_s=0)
    time.sleep(max(0.0, timing.after - (time.monotonic() - restored_s)))
    ended_s = time.monotonic()
    trace = Trace.from_json(probe.finish(_START_S).splitlines()[-1])
    survived = download.read(downloads.finish(_STRAGGLE_S))
    return Pull(
        link=link.name,
        down_s=restored_s - pulled_s,
        left_after_s=left.at_s - pulled_s if left else None,
        joined_after_s=joined.at_s - restored_s if joined else None,
        silence_s=trace.longest_silence_s(pulled_s, ended_s),
        sent=trace.sent,
        lost=trace.lost,
        twice=trace.twice,
        flows=survived.flows,
        alive_flows=survived.alive_flows,
    )


def _start_downloads(lab: Lab, picture: Picture, timing: Timing, stack: ExitStack) -> Program:
    picture.act(f"a call, and {MANY_FLOWS} downloads")
    seconds = round(timing.before + timing.down + timing.after) + 1
    stack.callback(_serve_download(lab.server).stop)
    command = download.command(_TUNNEL_SERVER, flows=MANY_FLOWS, seconds=seconds)
    downloads = Program(lab.client, *command, name="iperf3")
    stack.callback(downloads.stop)
    return downloads


def _show_call(picture: Picture) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        said = json.loads(line)
        if isinstance(said["returned"], int):  # not the whole story at the end
            picture.scene.call = Progress(**said)

    return on_line


def _flows(count: int) -> str:
    return "1 download" if count == 1 else f"{count} downloads at once"
