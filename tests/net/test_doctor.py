"""What the doctor says of a machine in order, and of one where one thing is broken; and that its fix, typed, mends it.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv, where a server with a secret runs
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import Host, Lab
from tests.net.bond import PORT, RATBOND, Bond, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

SECRET = "5a" * 32


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bond]:
    with Lab.up(["50mbit,20ms", "50mbit,20ms"], name=f"doctor{os.getpid()}") as lab:
        directory = tmp_path_factory.mktemp("doctor")
        made = Bond(lab, directory)
        made.file("secret").write_text(SECRET)
        made.file("secret").chmod(0o600)
        server = made.server(f"--secret-file={made.file('secret')}")
        until(lambda: "listening" in server.log, server)
        yield made
        for end in made.ends:
            if end.process.poll() is None:
                end.stop()
            assert " error: " not in end.log


def examine(
    host: Host, *arguments: str, wrapper: tuple[str, ...] = ()
) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status and the findings by their check; the worst where a check has several."""
    done = host.run(*wrapper, *RATBOND, "doctor", *arguments, "--json", check=False, timeout_s=60)
    assert done.returncode in {0, 1}, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["ok"] == (done.returncode == 0)
    order = ("ok", "warn", "fail")
    found: dict[str, dict[str, str]] = {}
    for finding in sorted(said["findings"], key=lambda f: order.index(f["verdict"])):
        found[finding["check"]] = finding
    return done.returncode, found


def of_client(
    bond: Bond, *flags: str, wrapper: tuple[str, ...] = ()
) -> tuple[int, dict[str, dict[str, str]]]:
    address = f"--connect-addr={bond.lab.server_ipv4}:{PORT}"
    secret = () if any("secret" in flag for flag in flags) else (f"--secret-file={bond.file('secret')}",)
    return examine(bond.lab.client, "client", address, *secret, *flags, wrapper=wrapper)


def state(host: Host) -> str:
    return host.run(
        "sh", "-c", "ip rule; ip route show table all; ip -br address; nft list ruleset; sysctl -a 2>/dev/null | grep rp_filter"
    ).stdout  # fmt: skip


def test_of_a_machine_in_order_nothing_is_said_but_that_and_nothing_stays(sealed: Bond) -> None:
    sealed.lab.client.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    before = state(sealed.lab.client)
    code, found = of_client(sealed)
    assert code == 0
    assert [finding for finding in found.values() if finding["verdict"] != "ok"] == []
    for wan in ("wan1", "wan2"):
        assert found[f"{wan} server"]["text"].startswith("answers in ")
        assert "strict; ratbond loosens it" in found[f"{wan} rp_filter"]["text"]
    assert state(sealed.lab.client) == before


BY_ITS_FIX = ":"
# What is broken on the client's machine and how it is mended; the check that tells of it, how badly, and in which words.
BROKEN = {
    "a network in use": ("ip address add 10.10.10.1/24 dev lo", "ip address del 10.10.10.1/24 dev lo",
                         "addresses", "fail", "10.10.10.0/30 is in use: lo has 10.10.10.1"),
    "an MTU too small": ("ip link set wan2 mtu 1280", "ip link set wan2 mtu 1500", "wan2 mtu", "warn", "1280 bytes"),
    "an output firewall": (
        "nft add table ip t; nft add chain ip t c '{ type filter hook output priority 0; }'; nft add rule ip t c oifname wan1 udp dport 12345 drop",
        "nft delete table ip t", "wan1 server", "fail", "a firewall on this machine drops"),
    "a device of that name": ("ip tuntap add tun660 mode tun", "ip link del tun660", "tun", "fail", "tun660 is there already"),
    "a rule of nobody's": ("ip rule add pref 99 table 7 protocol 114", BY_ITS_FIX, "leftovers", "warn", "no note of whose"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_one_broken_thing_is_found_and_told(sealed: Bond, what: str) -> None:
    break_it, mend_it, check, verdict, words = BROKEN[what]
    sealed.lab.client.run("sh", "-ec", break_it)
    try:
        code, found = of_client(sealed)
        assert found[check]["verdict"] == verdict, found
        assert words in found[check]["text"]
        assert found[check]["fix"]
        assert code == (1 if verdict == "fail" else 0)
        if mend_it == BY_ITS_FIX:
            sealed.lab.client.run("sh", "-ec", found[check]["fix"])
            assert of_client(sealed)[1][check]["verdict"] == "ok"
    finally:
        sealed.lab.client.run("sh", "-ec", mend_it)


def test_a_link_without_a_default_route_is_named_with_the_line_that_gives_it_one(sealed: Bond) -> None:
    client, gateway = sealed.lab.client, sealed.lab.links[1].gateway_ipv4
    route = client.run("ip", "route", "show", "default", "dev", "wan2").stdout.strip()
    client.run("sh", "-ec", "ip route del default dev wan2")
    try:
        code, found = of_client(sealed)
        assert (code, found["links"]["verdict"]) == (0, "warn")
        assert "wan1 is the only WAN link" in found["links"]["text"]
        assert "wan2 has an address, but no default route" in found["links"]["text"]
        client.run("sh", "-ec", found["links"]["fix"].replace("ITS-GATEWAY", gateway))
        assert of_client(sealed)[1]["wan2 server"]["verdict"] == "ok"
    finally:
        client.run("sh", "-c", f"ip route del default dev wan2; ip route add {route} dev wan2")


def test_a_dead_link_is_told_from_a_dead_server(sealed: Bond) -> None:
    with sealed.lab.links[1].blackhole():
        code, found = of_client(sealed)
        assert (code, found["wan1 server"]["verdict"], found["wan2 server"]["verdict"]) == (1, "ok", "fail")
        assert "nothing came back over wan2, but over others" in found["wan2 server"]["text"]
        assert "ping -I wan2" in found["wan2 server"]["fix"]
    code, found = of_client(sealed, f"--connect-addr={sealed.lab.server_ipv4}:9")
    assert (code, found["wan1 server"]["verdict"]) == (1, "fail")
    assert "nothing listens on that port there" in found["wan1 server"]["text"]


def test_another_secret_gets_no_answer_and_is_thought_of(sealed: Bond) -> None:
    code, found = of_client(sealed, f"--secret={'77' * 32}")
    assert (code, found["wan1 server"]["verdict"]) == (1, "fail")
    assert "the same secret or key" in found["wan1 server"]["fix"]


def test_without_rights_or_tun_it_says_how_to_get_them(sealed: Bond) -> None:
    code, found = of_client(sealed, wrapper=("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"))
    assert (code, found["rights"]["verdict"]) == (1, "fail")
    assert "CAP_NET_RAW is missing" in found["rights"]["text"]
    assert found["server"]["text"].startswith("not asked")
    hide = ("unshare", "--mount", "sh", "-ec", 'mount -t tmpfs tmpfs /dev/net; exec "$@"', "sh")
    code, found = of_client(sealed, wrapper=hide)
    assert (code, found["tun"]["verdict"]) == (1, "fail")
    assert "mknod" in found["tun"]["fix"]


def test_a_killed_client_leaves_what_the_doctor_finds(sealed: Bond) -> None:
    client = sealed.client(f"--secret-file={sealed.file('secret')}")
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    assert of_client(sealed)[1]["leftovers"]["verdict"] == "ok", "it runs"
    client.process.kill()
    client.process.wait()
    found = of_client(sealed)[1]
    assert found["leftovers"]["verdict"] == "warn"
    assert "client-660" in found["leftovers"]["text"]
    again = sealed.client(f"--secret-file={sealed.file('secret')}")
    until(lambda: again.links_up() == ["wan1", "wan2"], again)
    assert again.stop() == 0
    assert of_client(sealed)[1]["leftovers"]["verdict"] == "ok"


def test_a_servers_firewall_is_found_and_the_fix_opens_it(sealed: Bond) -> None:
    firewall = (
        "nft add table inet filter; nft add chain inet filter input '{ type filter hook input priority 0; policy drop; }';"
        "nft add rule inet filter input ct state established,related accept; nft add rule inet filter input tcp dport 22 accept"
    )
    of_server = ("server", f"--secret-file={sealed.file('secret')}")
    sealed.lab.server.run("sh", "-ec", firewall)
    try:
        code, found = examine(sealed.lab.server, *of_server)
        assert (code, found["firewall"]["verdict"]) == (0, "warn")
        assert of_client(sealed)[1]["wan1 server"]["verdict"] == "fail", "it is as closed as the doctor says"
        sealed.lab.server.run("sh", "-ec", found["firewall"]["fix"])
        assert examine(sealed.lab.server, *of_server)[1]["firewall"]["verdict"] == "ok"
        assert of_client(sealed)[1]["wan1 server"]["verdict"] == "ok"
    finally:
        sealed.lab.server.run("nft", "delete", "table", "inet", "filter")


def test_a_taken_port_and_an_address_of_elsewhere_are_named(sealed: Bond) -> None:
    secret = f"--secret-file={sealed.file('secret')}"
    other = ("server", secret, "--tunnel-id=7")
    code, found = examine(sealed.lab.server, *other)
    assert (code, found["port"]["verdict"]) == (1, "fail")
    assert "ss -Hlunp" in found["port"]["fix"]
    code, found = examine(sealed.lab.server, *other, "--listen-addr=203.0.113.7:12345")
    assert "does not have the address 203.0.113.7" in found["port"]["text"]


def test_a_server_of_plain_links_is_asked_by_joining_unless_a_client_runs(bond: Bond) -> None:
    server = bond.server()
    until(lambda: "listening" in server.log, server)
    code, found = of_client(bond, "--secret=")
    assert code == 0, found
    assert all(found[f"{wan} server"]["text"].startswith("answers in ") for wan in ("wan1", "wan2"))
    client = bond.client()
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    code, found = of_client(bond, "--secret=")
    assert code == 0
    assert found["wan1 server"]["text"] == "the client that runs here says that it is up"
    assert client.links_up() == ["wan1", "wan2"]
    assert Path(f"/proc/{client.process.pid}").exists()
