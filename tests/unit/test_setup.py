"""What the set-up finds on a machine, and what it says to answers that it cannot take."""

from __future__ import annotations

import io
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from ratbond import cli
from ratbond.links.model import Address, DefaultRoute, Device, Snapshot
from ratbond.models import Family
from ratbond.setup.machine import lans, own_address, wans


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, answers: str = "") -> int:
    monkeypatch.setattr(sys, "argv", ["ratbond", "setup", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def machine(*devices: tuple[str, str, str | None], kind: str = "") -> Snapshot:
    """Devices with an address/prefix and, if they have a default route, its gateway."""
    addresses, routes = [], []
    for index, (_, interface, gateway) in enumerate(devices, 1):
        address, _, length = interface.partition("/")
        addresses.append(Address(index, ip_address(address), int(length)))
        if gateway:
            routes.append(DefaultRoute(index, Family.V4, 254, 100 * index, ip_address(gateway)))
    made = tuple(
        Device(index, name, kind, up=True, carrier=True) for index, (name, _, _) in enumerate(devices, 1)
    )
    return Snapshot(made, tuple(addresses), tuple(routes))


def test_a_routers_wans_and_lans_are_told_apart() -> None:
    router = machine(
        ("dsl", "192.0.2.7/24", "192.0.2.1"),
        ("lte", "100.64.3.2/30", "100.64.3.1"),
        ("lan", "192.168.7.1/24", None),
    )
    assert [link.device for link in wans(router)] == ["dsl", "lte"]
    assert [link.device for link in wans(router, ["lte"])] == ["dsl"]
    assert [(lan.device, str(lan.network)) for lan in lans(router)] == [("lan", "192.168.7.0/24")]


def test_a_server_is_found_by_its_public_address_if_it_has_one() -> None:
    assert own_address(
        machine(("eth0", "10.0.0.5/24", "10.0.0.1"), ("eth1", "8.8.4.4/24", None))
    ) == ip_address("8.8.4.4")
    assert own_address(machine(("eth0", "10.0.0.5/24", "10.0.0.1"))) == ip_address("10.0.0.5")
    assert own_address(machine(("eth0", "10.0.0.5/24", None))) is None


@pytest.mark.parametrize(
    ("arguments", "files", "words"),
    [
        (["client", "--yes"], {}, ["RATBOND_JOIN", "ratbond setup server"]),
        (["client", "--yes", "--join-file=/nowhere/word"], {}, ["--join-file", "/nowhere/word"]),
        (["client", "--yes"], {"client.toml": 'join = "rbj1.x"\n'}, ["client.toml: join", "copy"]),
        (["client"], {}, ["no answer", "--yes"]),
        (["server", "--yes", "--server-addr=:"], {}, ["--server-addr"]),
        (["server"], {}, ["no answer", "--yes"]),
        (["server", "--yes"], {"server.toml": 'secret_file = "/x"\n'}, ["server.toml", "one client with a secret"]),
        (["server", "--yes", "--server-addr=a:1"], {"server.toml": "mux = 99\n"}, ["server.toml", "mux = 99", "at most 11"]),
    ],
)  # fmt: skip
def test_a_set_up_that_cannot_be_says_so_in_one_line_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    files: dict[str, str],
    words: list[str],
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    assert run(monkeypatch, *arguments, f"--directory={tmp_path}") in {1, 2}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.partition("ratbond: error: ")[2]
    assert all(word in last for word in words), last
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files
