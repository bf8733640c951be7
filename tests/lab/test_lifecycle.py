"""A lab comes, goes, and leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import CommandError, Lab, LabError, host

pytestmark = pytest.mark.netns

_KILLED_RUN = """
import os, signal, sys, time
from ratbond.lab import Lab
lab = Lab.up(["10mbit,10ms"], name=sys.argv[1])
lab.client.popen("sleep", "1000")
while not lab.client.pids():  # the sleeper may not have entered yet
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def traces(name: str) -> list[str]:
    """All that a lab of this name could leave on the machine."""
    files = [str(path) for path in Path("/run").glob(f"ratbond-lab.{name}.*")]
    return host.names(f"rb-{name}-") + files


def processes_of(lab: Lab) -> list[int]:
    return [pid for each in (lab.client, lab.wan, lab.server) for pid in each.pids()]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_a_lab_leaves_nothing_behind(lab_name: str) -> None:
    interfaces = subprocess.check_output(["ip", "-o", "link"])
    with Lab.up(["80mbit,16ms", "30mbit,60ms"], name=lab_name) as lab:
        lab.server.popen("sleep", "1000")
        assert len(traces(lab_name)) == 3 + 2
        while len(pids := processes_of(lab)) < 2:  # the sleeper may not have entered yet
            time.sleep(0.01)
    assert traces(lab_name) == []
    assert not any(alive(pid) for pid in pids)
    assert subprocess.check_output(["ip", "-o", "link"]) == interfaces


def test_a_failed_start_leaves_nothing_behind(lab_name: str) -> None:
    with pytest.raises(LabError, match="at most"):
        Lab.up(["80mbit,16ms", "10mbit,3600s"], name=lab_name)
    assert traces(lab_name) == []


@pytest.mark.parametrize("which", range(6))
def test_an_interrupt_while_a_process_is_being_started_leaves_nothing_behind(
    lab_name: str, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """The moment at which the process is there, and nobody knows of it yet."""
    started = 0

    class Popen(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            nonlocal started
            super().__init__(*arguments, **options)
            started += 1
            if started == which + 1:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with pytest.raises(KeyboardInterrupt):
        Lab.up(["10mbit", "10mbit"], name=lab_name)
    time.sleep(0.2)
    assert started > which
    assert traces(lab_name) == []


@pytest.mark.parametrize("cleaner", ["up", "down"])
def test_what_a_killed_run_left_is_cleaned_away(lab_name: str, cleaner: str) -> None:
    run = subprocess.run([sys.executable, "-c", _KILLED_RUN, lab_name], check=False)
    assert run.returncode == -signal.SIGKILL
    left = host.pids_in(f"rb-{lab_name}-cli")
    assert left
    if cleaner == "up":
        Lab.up(["10mbit,10ms"], name=lab_name).down()
    else:
        assert Lab.remove(lab_name)
    assert traces(lab_name) == []
    assert not any(alive(pid) for pid in left)


def test_a_lab_whose_emulator_was_killed_is_cleaned_away(lab_name: str) -> None:
    lab = Lab.up(["10mbit,10ms"], name=lab_name, stays=True)
    [emulator] = lab.wan.pids()
    os.kill(emulator, signal.SIGKILL)
    while alive(emulator):
        time.sleep(0.01)
    with pytest.raises(LabError, match="no lab"):
        Lab.attach(lab_name)
    with Lab.up(["10mbit,10ms"], name=lab_name) as again:
        again.client.run("ping", "-c", "1", "-W", "2", again.server_ipv4)


def test_a_lab_in_use_is_not_cleaned_away(lab_name: str) -> None:
    with Lab.up(["10mbit,10ms"], name=lab_name) as lab:
        with pytest.raises(LabError, match="is up already"):
            Lab.up(["10mbit,10ms"], name=lab_name)
        lab.client.run("ping", "-c", "1", "-W", "2", lab.server_ipv4)


def test_two_labs_exist_side_by_side(lab_name: str) -> None:
    with (
        Lab.up(["10mbit,10ms"], name=lab_name) as lab,
        Lab.up(["10mbit,10ms"], name=f"{lab_name}-b") as other,
    ):
        for each in (lab, other):
            each.client.run("ping", "-c", "1", "-W", "2", each.server_ipv4)


def test_another_process_finds_a_lab_that_stays(lab_name: str) -> None:
    script = "import sys; from ratbond.lab import Lab; Lab.up(['10mbit,10ms'], name=sys.argv[1], stays=True)"
    subprocess.run([sys.executable, "-c", script, lab_name], check=True)
    lab = Lab.attach(lab_name)
    lab.client.run("ping", "-c", "1", "-W", "2", lab.server_ipv4)


def test_a_command_that_fails_says_so_in_one_line(lab_name: str) -> None:
    with Lab.up(["10mbit,10ms"], name=lab_name) as lab:
        with pytest.raises(CommandError, match="exit code 3"):
            lab.client.run("sh", "-c", "exit 3")
        assert lab.client.run("sh", "-c", "exit 3", check=False).returncode == 3
        with pytest.raises(CommandError, match="did not end within"):
            lab.client.run("sleep", "10", timeout_s=0.1)


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../x", "-a", "a" * 21])
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="no name for a lab"):
        Lab.up(["10mbit"], name=name)
