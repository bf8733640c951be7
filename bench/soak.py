"""Two links that flap at random for minutes, under six downloads and a UDP stream: what breaks, and what leaks?

    sudo .venv/bin/python bench/soak.py [--minutes 10] [--seed 1] [--protocol kcp|bond]

Each link is up for 2 to 20 s, then down for 0.5 to 10 s, by its interface or by a silent blackhole. The downloads are
one iperf3 of six connections, so that one that dies is seen; the stream is 200 packets a second from the client.
Exits with 1 when a connection died or something grew that should not.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ratbond.lab import Host, Lab
from ratbond.lab.link import Link

LINK = "20mbit,30ms,queue=100ms"
STREAM_PORT = 5300
STREAM_GAP_S = 1 / 200
RATBOND = str(Path(sys.executable).with_name("ratbond"))
# What Python's allocator and glibc's arenas may still take after the warm-up.
ALLOWED_RSS_GROWTH_MB = 8.0


@dataclass(frozen=True)
class Footprint:
    """What one end holds."""

    rss_mb: float
    threads: int
    sockets: int
    routes: int
    rules: int
    links: int


@dataclass
class Stream:
    """A numbered UDP stream from the client to the server, inside the tunnel."""

    lab: Lab
    sent: int = 0
    arrived: int = 0
    copies: int = 0
    longest_silence_s: float = 0.0

    def run(self, stop: threading.Event) -> None:
        receiver = self.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("0.0.0.0", STREAM_PORT))
        receiver.settimeout(0.2)
        sender = self.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        counting = threading.Thread(target=self._count, args=(receiver, stop))
        counting.start()
        next_s = time.monotonic()
        while not stop.is_set():
            try:
                sender.sendto(self.sent.to_bytes(8, "big") + bytes(152), ("10.10.10.1", STREAM_PORT))
                self.sent += 1
            except OSError:
                # No route while the bond is down as a whole: nothing was sent, so nothing can be lost.
                pass
            next_s += STREAM_GAP_S
            time.sleep(max(0.0, next_s - time.monotonic()))
        counting.join()
        receiver.close()
        sender.close()

    def _count(self, receiver: socket.socket, stop: threading.Event) -> None:
        seen: set[int] = set()
        last_s = time.monotonic()
        deadline_s = float("inf")
        while time.monotonic() < deadline_s:
            if stop.is_set() and deadline_s == float("inf"):
                deadline_s = time.monotonic() + 15.0
            try:
                data = receiver.recv(2048)
            except TimeoutError:
                continue
            now_s = time.monotonic()
            self.longest_silence_s = max(self.longest_silence_s, now_s - last_s)
            last_s = now_s
            number = int.from_bytes(data[:8], "big")
            self.copies += number in seen
            seen.add(number)
            self.arrived = len(seen)


def flap(link: Link, chance: random.Random, stop: threading.Event, tally: dict[str, int]) -> None:
    """Pull and restore one link until told to stop; it is up in the end."""
    while not stop.wait(chance.uniform(2.0, 20.0)):
        how = chance.choice(["interface", "blackhole"])
        tally[how] = tally.get(how, 0) + 1
        if how == "interface":
            link.interface_down()
        else:
            link.blackhole_on()
        stop.wait(chance.uniform(0.5, 10.0))
        if how == "interface":
            link.interface_up()
        else:
            link.blackhole_off()


def footprint(host: Host, pid: int, status_port: int) -> Footprint:
    # The first to ask loads the web server, so ask before looking.
    answer = host.run("curl", "-s", f"http://127.0.0.1:{status_port}/status").stdout
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return Footprint(
        rss_mb=round(int(status["VmRSS"].split()[0]) / 1024, 1),
        threads=int(status["Threads"]),
        sockets=sum(str(target).startswith("socket:") for target in descriptors),
        routes=_lines(host, "ip", "route", "show", "table", "all"),
        rules=_lines(host, "ip", "rule"),
        links=sum(len(session["links"]) for session in json.loads(answer)["sessions"]),
    )


def _lines(host: Host, *command: str) -> int:
    return len(host.run(*command).stdout.splitlines())


def start(host: Host, *arguments: str) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = host.popen(
        RATBOND, *arguments, "--nosyslog", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return process


def own_pid(host: Host, word: str) -> int:
    """Find the ratbond that runs as ``word``: `ip netns exec` replaces itself, sudo and shells do not."""
    for pid in host.pids():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if word.encode() in words:
            return pid
    message = f"no ratbond {word} runs"
    raise SystemExit(message)


def wait_for_bond(lab: Lab, links: int) -> None:
    for _ in range(100):
        answer = lab.client.run("curl", "-s", "http://127.0.0.1:8091/status", check=False).stdout
        sessions = json.loads(answer)["sessions"] if answer else []
        if sum(link["state"] == "up" for session in sessions for link in session["links"]) >= links:
            return
        time.sleep(0.2)
    raise SystemExit("the bond did not come up")


def download(lab: Lab, seconds: int) -> subprocess.Popen[bytes]:
    lab.server.popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
    time.sleep(1.0)
    command = ["iperf3", "-c", "10.10.10.1", "-R", "-P", "6", "-C", "cubic", "-t", str(seconds), "-J"]
    process: subprocess.Popen[bytes] = lab.client.popen(
        *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return process


def secret_flags(protocol: str, directory: Path) -> tuple[str, ...]:
    """What both ends are told: sealed links want a secret."""
    if protocol == "kcp":
        return ("--protocol=kcp",)
    file = directory / "secret"
    file.touch(mode=0o600)
    file.write_text(secrets.token_hex(32))
    return ("--protocol=bond", f"--secret-file={file}")


def soak(minutes: float, seed: int, protocol: str) -> bool:
    with (
        tempfile.TemporaryDirectory() as directory,
        Lab.up([LINK, LINK], name=f"soak-{protocol}", seed=seed) as lab,
    ):
        flags = secret_flags(protocol, Path(directory))
        server = start(lab.server, "server", *flags)
        client = start(lab.client, "client", f"--connect-addr={lab.server_ipv4}:12345", *flags)
        wait_for_bond(lab, 2)
        ends = {
            "client": (lab.client, own_pid(lab.client, "client")),
            "server": (lab.server, own_pid(lab.server, "server")),
        }
        warm = download(lab, 5)
        warm.wait(timeout=60)
        time.sleep(3.0)
        before = {name: footprint(host, pid, 8091) for name, (host, pid) in ends.items()}
        stream, results, tally = run_load(lab, minutes, seed)
        time.sleep(15.0)
        after = {name: footprint(host, pid, 8091) for name, (host, pid) in ends.items()}
        for process in (client, server):
            process.terminate()
            process.wait(timeout=10)
    return report(stream, results, tally, before, after)


def run_load(lab: Lab, minutes: float, seed: int) -> tuple[Stream, Mapping[str, object], dict[str, int]]:
    stop = threading.Event()
    tally: dict[str, int] = {}
    stream = Stream(lab)
    threads = [threading.Thread(target=stream.run, args=(stop,))]
    for link in lab.links:
        chance = random.Random(f"{seed} {link.name}")
        threads.append(threading.Thread(target=flap, args=(link, chance, stop, tally)))
    running = download(lab, round(minutes * 60))
    for thread in threads:
        thread.start()
    output, _ = running.communicate(timeout=minutes * 60 + 120)
    stop.set()
    for thread in threads:
        thread.join()
    result: Mapping[str, object] = json.loads(output)
    return stream, result, tally


def report(
    stream: Stream,
    result: Mapping[str, object],
    tally: Mapping[str, int],
    before: Mapping[str, Footprint],
    after: Mapping[str, Footprint],
) -> bool:
    troubles = [f"iperf3: {result['error']}"] if "error" in result else []
    end = result.get("end", {})
    streams = end.get("streams", []) if isinstance(end, dict) else []
    rates = [one["receiver"]["bits_per_second"] / 1e6 for one in streams]
    print("pulled:", ", ".join(f"{how} {count} times" for how, count in sorted(tally.items())))
    print("downloads, Mbit/s:", " ".join(f"{rate:.2f}" for rate in rates), f"together {sum(rates):.1f}")
    print(
        f"stream: {stream.sent} sent, {stream.sent - stream.arrived} lost, {stream.copies} twice,"
        f" longest silence {stream.longest_silence_s:.2f} s"
    )
    if len(rates) != 6 or min(rates) <= 0:
        troubles.append("a download died")
    for name in before:
        print(f"{name} before {asdict(before[name])}")
        print(f"{name} after  {asdict(after[name])}")
        troubles += growth(name, before[name], after[name])
    for trouble in troubles:
        print("TROUBLE:", trouble)
    return not troubles


def growth(name: str, before: Footprint, after: Footprint) -> list[str]:
    counts = ["threads", "sockets", "routes", "rules", "links"]
    grown = [f"{name}: {what} grew" for what in counts if getattr(after, what) > getattr(before, what)]
    if after.rss_mb > before.rss_mb + ALLOWED_RSS_GROWTH_MB:
        grown.append(f"{name}: memory grew")
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--protocol", choices=("kcp", "bond"), default="kcp")
    arguments = parser.parse_args()
    if not soak(arguments.minutes, arguments.seed, arguments.protocol):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
