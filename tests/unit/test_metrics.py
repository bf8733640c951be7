"""What Prometheus gets to see."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ratbond.status.metrics import Exporter
from ratbond.status.model import Status

from .test_status_http import LINK, SESSION, STATUS

BUSY = replace(
    STATUS,
    sessions=(replace(SESSION, links=(LINK, replace(LINK, name="a\\b\n\"c\"", state="dead"))), replace(SESSION, id=1, up=False)),
)  # fmt: skip
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(status: Status) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = Exporter(lambda: status).scrape("")
    assert content_type.startswith("text/plain")
    families = list(text_string_to_metric_families(body.decode()))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(name: str, **labels: str) -> float:
    return samples(BUSY)[name, frozenset(labels.items())]


def test_units_are_base_units() -> None:
    link = {"session": "0", "client": "", "link": "wan1", "conv": "660"}
    assert value("ratbond_link_rtt_seconds", **link) == 0.0205
    assert value("ratbond_link_loss_ratio", **link) == 0.015
    assert value("ratbond_link_receive_bytes_total", **link) == 2_500_000
    assert value("ratbond_link_state", **link, state="up") == 1
    assert value("ratbond_link_state", **link, state="dead") == 0
    assert value("ratbond_session_links_up", session="0", client="") == 1
    assert value("ratbond_session_up", session="1", client="") == 0


def test_a_peers_name_cannot_break_the_format() -> None:
    assert value("ratbond_link_up", session="0", client="", link='a\\b\n"c"', conv="660") == 0


def test_the_process_itself_is_measured() -> None:
    assert value("process_resident_memory_bytes") > 1e6


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    body, content_type = Exporter(lambda: BUSY).scrape(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"ratbond", "ratbond_link_receive_bytes"}


def test_names_follow_the_conventions_and_are_documented() -> None:
    body, _ = Exporter(lambda: BUSY).scrape("")
    documented = set(
        re.findall(r"`([a-z0-9_]+)`", (Path(__file__).parents[2] / "docs" / "status.md").read_text())
    )
    for family in text_string_to_metric_families(body.decode()):
        if family.name.startswith("process_"):
            continue
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            assert sample.name in documented
        assert family.documentation.endswith(".")


def test_the_grafana_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((Path(__file__).parents[2] / "contrib" / "grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:ratbond|process)_\w+", target["expr"])
    }
    assert len(asked) >= 10
    assert asked <= {name for name, _ in samples(BUSY)}
