"""The service as systemd runs it: its user, its two capabilities and no more; and what installing it does to a machine."""

from __future__ import annotations

import configparser
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratbond.lab import Host
from ratbond.service.plan import unit
from tests.net.bond import PORT, Bond, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NOBODY = pwd.getpwnam("nobody")

# What a service's user must be able to read: on a machine of tests it may lie in root's home.
PLACES = sorted({Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]})

# /dev/net/tun as udev leaves it, and the unit's rights.
AS_THE_UNIT = """
mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200
exec setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs \\
  --inh-caps=-all,{caps} --ambient-caps=-all,{caps} --bounding-set=-all,{caps} \\
  {python} -c '{deny_write_execute}' "$@"
"""
# PR_SET_MDWE, which MemoryDenyWriteExecute= sets on kernels that have it (6.3).
DENY_WRITE_EXECUTE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.executable, sys.argv[1:])
"""


def readable_for_all() -> str:
    """A script that opens the way to the places, in a mount namespace of one's own."""
    script = "mount -t tmpfs -o mode=755 tmpfs /mnt\n"
    for number, place in enumerate(PLACES):
        private = [d for d in place.parents if not d.stat().st_mode & stat.S_IXOTH]
        if private:
            script += f"mkdir /mnt/{number}; mount --bind {place} /mnt/{number}\n"
            script += f"[ -e {private[-1]}/.open ] || mount -t tmpfs -o mode=755 tmpfs {private[-1]}\n"
            script += f"touch {private[-1]}/.open; mkdir -p {place}; mount --bind /mnt/{number} {place}\n"
    return script


def settings(role: str) -> dict[str, str]:
    """The [Service] part of a unit; of a key that is given again the last counts."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(unit(role, ("/usr/bin/ratbond",)))
    return dict(parser["Service"])


class Service:
    """A directory that belongs to the service's user, and how the unit starts things."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("run-client", "run-server"):
            (directory / name).mkdir()
            os.chown(directory / name, NOBODY.pw_uid, NOBODY.pw_gid)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(directory / "notify"))
        (directory / "notify").chmod(0o666)
        self.manager.setblocking(False)
        self.messages: list[str] = []

    def wrapper(self, role: str) -> tuple[str, ...]:
        unit_settings = settings(role)
        assert unit_settings["AmbientCapabilities"] == unit_settings["CapabilityBoundingSet"]
        assert unit_settings["MemoryDenyWriteExecute"] == unit_settings["NoNewPrivileges"] == "yes"
        words = unit_settings["AmbientCapabilities"].split()
        capabilities = ",".join(f"+{word.removeprefix('CAP_').lower()}" for word in words)
        script = readable_for_all() + AS_THE_UNIT.format(
            python=sys.executable, uid=NOBODY.pw_uid, gid=NOBODY.pw_gid, caps=capabilities, deny_write_execute=DENY_WRITE_EXECUTE
        )  # fmt: skip
        return (
            "env", f"RUNTIME_DIRECTORY={self.directory}/run-{role}", f"NOTIFY_SOCKET={self.directory}/notify",
            "WATCHDOG_USEC=3000000", "unshare", "--mount", "sh", "-ec", script, "sh",
        )  # fmt: skip

    def secret(self) -> str:
        path = self.directory / "secret"
        if not path.exists():
            path.write_text("ab" * 32)
            path.chmod(0o600)
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        return f"--secret-file={path}"

    def heard(self, words: str) -> bool:
        try:
            while True:
                self.messages.append(self.manager.recv(4096).decode())
        except BlockingIOError:
            return any(words in message for message in self.messages)


@pytest.fixture
def service() -> Iterator[Service]:
    """Not below pytest's own directory, which nobody but its user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="rb-service-"))
    directory.chmod(0o755)
    made = Service(directory)
    yield made
    made.manager.close()
    shutil.rmtree(directory)


def state(host: Host) -> str:
    """All that an end may change on its machine."""
    return host.run(
        "sh", "-c",
        "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | grep -Ev 'fe80|multicast';"
        "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'; sysctl -a 2>/dev/null | grep -E '[.]rp_filter|forward|accept_ra '",
    ).stdout  # fmt: skip


def test_both_ends_do_all_their_work_as_a_user_with_two_capabilities(bond: Bond, service: Service) -> None:
    hosts = (bond.lab.client, bond.lab.server)
    for host in hosts:
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=1")
    before = [state(host) for host in hosts]
    flags = ("--nat", service.secret())
    server = bond.start(bond.lab.server, "server", *flags, wrapper=service.wrapper("server"))
    client = bond.start(
        bond.lab.client, "client", f"--connect-addr={bond.lab.server_ipv4}:{PORT}", *flags,
        wrapper=service.wrapper("client"),
    )  # fmt: skip
    until(lambda: client.links_up() == ["wan1", "wan2"], client, limit_s=90)
    until(bond.ping, client)
    identity = Path(f"/proc/{client.process.pid}/status").read_text()
    assert f"Uid:\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}" in identity
    assert "CapEff:\t0000000000003000" in identity  # CAP_NET_ADMIN and CAP_NET_RAW
    until(lambda: " dev tun660 " in bond.lab.client.run("ip", "route", "get", "198.51.100.9").stdout, client)
    until(lambda: "ratbond_client_660" in bond.lab.client.run("nft", "list", "ruleset").stdout, client)
    until(lambda: bond.lab.server.run("sysctl", "-n", "net.ipv4.ip_forward").stdout == "1\n", server)
    until(lambda: service.heard("STATUS=the bond is up: wan1 up, wan2 up"))
    until(lambda: service.heard("STATUS=listening at 0.0.0.0:12345, 1 connected"))
    assert service.messages.count("READY=1") == 2
    assert service.heard("WATCHDOG=1")
    assert [end.stop() for end in (client, server)] == [0, 0]
    assert "could not" not in client.log + server.log
    assert [state(host) for host in hosts] == before
    assert not list((service.directory / "run-client").iterdir())


def test_what_root_noted_in_the_services_directory_the_service_can_clean_up(
    bond: Bond, service: Service
) -> None:
    before = state(bond.lab.client)
    directory = ("env", f"RUNTIME_DIRECTORY={service.directory}/run-client")
    address = f"--connect-addr={bond.lab.server_ipv4}:{PORT}"
    bond.server()
    killed = bond.start(bond.lab.client, "client", address, wrapper=directory)
    until(
        lambda: " dev tun660 " in bond.lab.client.run("ip", "route", "get", "198.51.100.9").stdout, killed, 60
    )
    killed.process.kill()
    killed.process.wait()
    again = bond.start(bond.lab.client, "client", address, wrapper=service.wrapper("client"))
    until(
        lambda: " dev tun660 " in bond.lab.client.run("ip", "route", "get", "198.51.100.9").stdout, again, 60
    )
    assert again.stop() == 0
    assert state(bond.lab.client) == before


# A machine of its own as far as /etc, /usr/local and /run go; no service manager runs there.
ON_A_MACHINE = """
mkdir /mnt/etc && cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/login.defs /mnt/etc
cp -a /etc/nsswitch.conf /mnt/etc; mount --bind /mnt/etc /etc; mount -t tmpfs tmpfs /usr/local/share; mount -t tmpfs tmpfs /run
mkdir -p /etc/systemd /lib/systemd/system /etc/ratbond
"""


def on_a_machine(script: str) -> str:
    """What a script prints; ``$ratbond`` is the command."""
    command = f'ratbond="{sys.executable} -m ratbond"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f"{readable_for_all()}{ON_A_MACHINE}\n{command}\n{script}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_installing_makes_user_and_unit_and_removing_takes_both_away() -> None:
    printed = on_a_machine(
        """
        cp -a /etc /run/before
        touch /etc/ratbond/client.toml; chmod 600 /etc/ratbond/client.toml; cp -a /etc/ratbond /run/before/
        $ratbond service install client >/run/said
        getent passwd ratbond
        stat -c '%U %a' /etc/ratbond/client.toml
        grep ^ExecStart= /etc/systemd/system/ratbond-client.service
        test -s /usr/local/share/man/man1/ratbond.1
        $ratbond service install client >/run/again; ! grep useradd /run/again
        $ratbond service remove client
        stat -c '%U %a' /etc/ratbond/client.toml
        for file in passwd group; do cmp /etc/$file /run/before/$file; done
        test ! -e /etc/systemd/system/ratbond-client.service
        test ! -e /usr/local/share/man/man1/ratbond.1
        """
    ).splitlines()
    assert printed[0].endswith(":/usr/sbin/nologin")
    assert printed[1] == "ratbond 600"
    assert printed[2].endswith(" client --config=/etc/ratbond/client.toml")
    assert printed[-1] == "root 600"


def test_the_user_stays_for_the_other_end() -> None:
    printed = on_a_machine(
        """
        for role in client server; do $ratbond service install $role >/run/said 2>&1; done
        $ratbond service remove client >/run/said
        getent passwd ratbond; ls /etc/systemd/system
        """
    )
    assert "ratbond-server.service" in printed
    assert "ratbond-client.service" not in printed


def test_a_clients_file_that_root_changes_stays_readable_for_the_service() -> None:
    owners = on_a_machine(
        """
        $ratbond service install server >/run/said 2>&1
        $ratbond client add van --server-addr=vps.example.org:12345 >/run/said 2>&1
        stat -c '%U %a' /etc/ratbond/clients.toml
        $ratbond client add boat >/run/said 2>&1
        stat -c '%U %a' /etc/ratbond/clients.toml
        """
    )
    assert owners == "ratbond 600\nratbond 600\n"
