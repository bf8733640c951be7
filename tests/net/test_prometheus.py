"""Debian's Prometheus scrapes both ends of a bond, and answers what contrib/grafana.json asks it.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv      a Prometheus in each of the two
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import Host
from tests.net.bond import Bond, UdpStream, until

REPOSITORY = Path(__file__).parents[2]
# scripts/bootstrap unpacks it, and does not install the service that comes with it.
UNPACKED = REPOSITORY / "build/debian/usr/bin/prometheus"
PROMETHEUS = shutil.which("prometheus") or (str(UNPACKED) if UNPACKED.exists() else None)

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(90),
    pytest.mark.skipif(
        PROMETHEUS is None, reason="there is no Prometheus (Debian: apt-get install prometheus)"
    ),
]

CONFIGURATION = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: ratbond
    static_configs: [{targets: ["127.0.0.1:8091"]}]
"""
ASK = """
import json, sys, urllib.parse, urllib.request
answers = []
for query in json.load(sys.stdin):
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": query})
    answers.append(json.load(urllib.request.urlopen(url, timeout=5))["data"]["result"])
print(json.dumps(answers))
"""


class Scraper:
    """A Prometheus on a host, for the ratbond there."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._host = host
        directory.mkdir()
        (directory / "prometheus.yml").write_text(CONFIGURATION)
        self._log = directory / "log"
        with self._log.open("w") as log:
            self._process = host.popen(
                str(PROMETHEUS), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                "--web.listen-address=127.0.0.1:9090", stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, *queries: str) -> list[list[dict[str, Any]]]:
        """The results of PromQL queries."""
        command = self._host.command(sys.executable, "-c", ASK)
        done = subprocess.run(
            command, input=json.dumps(queries), capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode:
            raise OSError(f"{done.stderr}; {self._log.read_text()[-500:]}")
        answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
        return answers

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


@pytest.fixture
def scrapers(bond: Bond, tmp_path: Path) -> Iterator[dict[str, Scraper]]:
    bond.up("--balance-roundrobin")
    made = {
        "client": Scraper(bond.lab.client, tmp_path / "prometheus-client"),
        "server": Scraper(bond.lab.server, tmp_path / "prometheus-server"),
    }
    stream = UdpStream(bond.lab)
    yield made
    stream.finish()
    for scraper in made.values():
        scraper.close()


def dashboard_queries() -> dict[str, str]:
    """What each panel asks, with the variables that Grafana would fill in."""
    panels = json.loads((REPOSITORY / "contrib/grafana.json").read_text())["panels"]
    return {
        f"{panel['title']}, {number}": target["expr"]
        .replace("$instance", "127.0.0.1:8091")
        .replace("$__rate_interval", "6s")
        for panel in panels
        for number, target in enumerate(panel["targets"])
    }


def test_prometheus_tells_the_rates_of_links_and_fills_the_dashboard(scrapers: dict[str, Scraper]) -> None:
    client, server = scrapers["client"], scrapers["server"]
    sent = "rate(ratbond_link_transmit_bytes_total[6s])"
    until(lambda: {s["metric"]["link"] for s in client.ask(f"{sent} > 1000")[0]} == {"wan1", "wan2"})
    until(lambda: len(server.ask("rate(ratbond_link_receive_bytes_total[6s]) > 1000")[0]) == 2)
    (info,) = client.ask("ratbond_info")[0]
    assert info["metric"]["role"] == "client"

    queries = dashboard_queries()
    assert len(queries) >= 10
    for scraper in scrapers.values():
        answers = dict(zip(queries, scraper.ask(*queries.values()), strict=True))
        assert [panel for panel, result in answers.items() if not result] == []
