"""``ratbond lab``, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ratbond.lab import Lab
from ratbond.lab.cli import app

pytestmark = pytest.mark.netns


def ratbond_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ratbond.lab", *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_a_lab_goes_up_is_used_changed_shown_and_goes_down(lab_name: str) -> None:
    name = ("--name", lab_name)
    made = ratbond_lab("up", *name, "--link", "80mbit,16ms", "--link", "30mbit,60ms,loss=0.5%")
    assert made.returncode == 0, made.stderr
    assert f"rb-{lab_name}-cli" in made.stdout

    pinged = ratbond_lab("exec", *name, "client", "--", "ping", "-c", "1", "-W", "2", Lab.server_ipv4)
    assert pinged.returncode == 0, pinged.stdout
    assert ratbond_lab("exec", *name, "server", "--", "sh", "-c", "exit 7").returncode == 7

    assert ratbond_lab("set", *name, "wan2", "rate=10mbit", "up.loss=3%").returncode == 0
    shown = json.loads(ratbond_lab("status", *name, "--json").stdout)
    assert shown["links"][1]["up"]["settings"] == {"rate_bps": 10_000_000, "delay_ms": 30.0, "loss": 0.03}
    assert shown["links"][0]["down"]["stats"]["delivered_packets"] >= 1
    assert "10 Mbit/s, delay 30 ms, loss 0.03" in ratbond_lab("status", *name).stdout

    assert ratbond_lab("down", *name).returncode == 0
    assert ratbond_lab("status", *name).returncode == 1
    assert "there was no lab" in ratbond_lab("down", *name).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--link", "fast"), "neither a rate (80mbit)"),
        (("up", "--link", "1mbit,200s"), "at most 60 s"),
        (("status",), "no lab"),
        (("set", "wan1", "rate=1mbit"), "no lab"),
        (("exec", "client", "--", "true"), "no lab"),
    ],
)
def test_a_mistake_is_answered_with_one_line(lab_name: str, arguments: tuple[str, ...], said: str) -> None:
    command, *rest = arguments
    done = ratbond_lab(command, "--name", lab_name, *rest)
    assert done.returncode == 1
    assert done.stderr.startswith("ratbond lab: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_mistakes_about_a_lab_that_is_up_are_answered_too(lab_name: str) -> None:
    with Lab.up(["10mbit"], name=lab_name):
        for arguments, said in (
            (("up", "--link", "10mbit"), "is up already"),
            (("set", "wan3", "rate=1mbit"), "this lab has wan1"),
            (("set", "wan1", "loss=200%"), "above 100%"),
            (("exec", "client", "--", "no-such-command"), "no-such-command"),
        ):
            command, *rest = arguments
            done = ratbond_lab(command, "--name", lab_name, *rest)
            assert done.returncode != 0
            assert said in done.stderr
            assert done.stderr.count("\n") == 1


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(app, ["up", "--link", "10mbit"])
    assert done.exit_code == 1
    assert (
        done.stderr == "ratbond lab: the lab makes network namespaces, which needs root; run it with sudo\n"
    )
