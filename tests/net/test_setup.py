"""Two ends are set up as a new user would, and carry a LAN.

::

    pc 192.168.99.2 ── client ═ wan1, wan2 ═ server ── web 198.51.100.2
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ratbond.lab import Host
from tests.net.bond import PORT, RATBOND, Bond, until
from tests.net.test_nat import WEB, WEB6, Neighbours

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


@pytest.fixture
def around(bond: Bond) -> Iterator[Neighbours]:
    neighbours = Neighbours(bond)
    yield neighbours
    neighbours.remove()


def typed(host: Host, line: str, answers: str = "") -> tuple[str, str]:
    """What a line that is typed into a shell prints, where `ratbond` is the command under test."""
    script = f"ratbond() {{ {' '.join(RATBOND)} \"$@\"; }}\n{line} <<'E'\n{answers}\nE\n"
    done = host.run("sh", "-ec", script, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_four_typed_lines_bring_a_lan_to_a_host_behind_the_server(around: Neighbours, tmp_path: Path) -> None:
    bond = around.bond
    server, client = tmp_path / "server", tmp_path / "client"
    # The answers: the server's address, the client's name, NAT; the WANs to leave out, NAT. Empty takes what is in brackets.
    printed, _ = typed(
        bond.lab.server, f"ratbond setup server --directory={server}", f"{bond.lab.server_ipv4}\n\n\n"
    )
    daemon = bond.start(bond.lab.server, "server", f"--config={server}/server.toml")
    _, said = typed(bond.lab.client, f"{printed.strip()} --directory={client}", "\n\n")
    assert all(
        words in said for words in ("wan1", "wan2", "192.168.99.0/24", f"{bond.lab.server_ipv4}:{PORT}")
    )
    assert (client / "client.toml").stat().st_mode & 0o777 == 0o600
    end = bond.start(bond.lab.client, "client", f"--config={client}/client.toml")
    until(lambda: end.links_up() == ["wan1", "wan2"] and len(daemon.links_up()) == 2, end)
    until(lambda: around.reach(WEB) and around.reach(WEB6), end)


def test_a_set_up_that_is_run_again_changes_nothing(bond: Bond, tmp_path: Path) -> None:
    server = f"ratbond setup server --yes --server-addr=vps.example.org:4711 --no-nat --directory={tmp_path}"
    printed, _ = typed(bond.lab.server, server)
    typed(bond.lab.client, f"{printed.strip()} --yes --no-wan=wan2 --directory={tmp_path}")
    before = {path.name: path.read_text() for path in tmp_path.glob("*.toml")}
    assert before.keys() == {"server.toml", "clients.toml", "client.toml"}
    assert 'listen_addr = "0.0.0.0:4711"' in before["server.toml"]
    again, said = typed(bond.lab.server, f"ratbond setup server --yes --directory={tmp_path}")
    assert again == ""
    assert "home was set up before" in said
    typed(bond.lab.client, f"ratbond setup client --yes --directory={tmp_path}")
    assert {path.name: path.read_text() for path in tmp_path.glob("*.toml")} == before


def test_what_a_person_has_written_into_the_file_stays(bond: Bond, tmp_path: Path) -> None:
    printed, _ = typed(
        bond.lab.server, f"ratbond setup server --yes --server-addr=192.0.2.1 --directory={tmp_path}"
    )
    written = '# my line\nstats_interval = 5 # often\n\n[links.dsl]\nwan = "wan1"\n'
    (tmp_path / "client.toml").write_text(written)
    typed(bond.lab.client, f"{printed.strip()} --yes --directory={tmp_path}")
    text = (tmp_path / "client.toml").read_text()
    assert all(line in text for line in written.splitlines())
    assert (tmp_path / "client.toml").stat().st_mode & 0o777 == 0o600
    shown = bond.lab.client.run(
        *RATBOND, "config", "show", "client", f"--config={tmp_path}/client.toml"
    ).stdout
    assert 'connect_addr = "192.0.2.1:12345"' in shown
    assert "stats_interval = 5" in shown
