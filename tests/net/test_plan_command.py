"""What `ratbond plan` prints is what `ratbond` does: its commands, typed, bring a machine to the state that a bond brings it to.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratbond.lab import Host
from tests.net.bond import PORT, RATBOND, Bond, until
from tests.net.conftest import as_documented
from tests.net.kernel_state import state

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def foresee(host: Host, *arguments: str) -> str:
    return host.run(*RATBOND, "plan", *arguments).stdout


def typed(host: Host, script: str) -> None:
    host.run("sh", "-ec", script)


def the_same(host: Host, bonded: str, script: str, unbonded: str) -> None:
    """Holds a script to what the bond did, and to how it left the system."""
    assert bonded != unbonded
    assert state(host) == unbonded
    typed(host, script)
    assert state(host) == bonded


@pytest.mark.parametrize("fence", ["--leak", "--no-leak"])
def test_the_commands_of_a_plan_do_what_the_bond_does(bond: Bond, fence: str) -> None:
    """Two WANs in tables of their own, strict reverse paths, translation past a firewall: nothing is told in vain or left out."""
    as_documented(bond.lab)
    here, there = bond.lab.client, bond.lab.server
    for host in (here, there):
        typed(host, "sysctl -qw net.ipv4.conf.all.rp_filter=1; sysctl -qw net.ipv6.conf.default.accept_ra=1")
        typed(host, "nft 'table inet fw { chain f { type filter hook forward priority 0; policy drop; }; }'")
    before = state(here), state(there)
    flags = ["--nat", "--wan=wan1@10.77.1.1", fence]
    plans = (
        foresee(here, "client", f"--connect-addr=1.1.1.1:{PORT}", *flags),
        foresee(there, "server", "--nat"),
    )
    assert (state(here), state(there)) == before
    server = bond.server("--nat")
    client = bond.start(here, "client", f"--connect-addr=1.1.1.1:{PORT}", *flags)
    until(lambda: client.links_up() == ["wan1", "wan2"] and bond.ping("10.10.10.1"), client)
    until(lambda: "suppress_prefixlength" in here.run("ip", "-6", "rule").stdout, client)
    bonded = state(here), state(there)
    assert client.stop() == 0
    assert server.stop() == 0
    for host, did, script, was in zip((here, there), bonded, plans, before, strict=True):
        the_same(host, did, script, was)


def test_a_plan_says_which_client_needs_what_and_what_is_not_there(bond: Bond) -> None:
    clients = bond.file("clients.toml")
    there = bond.lab.server
    add = (*RATBOND, "client", "add", f"--clients-file={clients}", "--server-addr=10.77.0.1:12345")
    there.run(*add, "home")
    line = there.run(*add, "van", "--lan=192.168.7.0/24").stdout
    said: dict[str, Any] = json.loads(foresee(there, "server", f"--clients-file={clients}", "--json"))
    told = {(change["client"], change["command"]) for change in said["changes"]}
    assert ("van", "ip route add 192.168.7.0/24 dev tun1002 table main proto 114") in told
    assert ("home", "ip tuntap add dev tun1001 mode tun") in told
    join = bond.file("join")
    join.write_text(line.split("RATBOND_JOIN=")[1].split()[0])
    join.chmod(0o600)
    text = foresee(bond.lab.client, "client", f"--join-file={join}", "--wan=wwan9", "--route=198.51.100.0/24")
    assert "# ADDRESS stands for those that the server assigns" in text
    assert "ip address add ADDRESS dev tun1002" in text
    assert "# No link wwan9 yet: " in text
    assert (
        "ip rule add pref 32765 to 198.51.100.0/24 lookup main suppress_prefixlength 24 protocol 114" in text
    )


def test_a_plan_tells_of_an_end_that_runs_and_of_one_that_was_killed(bond: Bond) -> None:
    server = bond.server()
    until(lambda: "listening" in server.log, server)
    assert "# server-660 is running" in foresee(bond.lab.server, "server")
    server.process.kill()
    server.process.wait()
    assert "# server-660 was killed" in foresee(bond.lab.server, "server")
