"""``python -m ratbond.lab.demo`` as somebody runs it: to its end, into Ctrl-C, twice, and without rights."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ratbond.lab import Lab, host

pytestmark = [pytest.mark.netns, pytest.mark.timeout(110)]

DEMO = (sys.executable, "-m", "ratbond.lab.demo")


@pytest.fixture
def name() -> Iterator[str]:
    """A name of its own, and nothing left under it."""
    free = f"demo{os.getpid()}"
    yield free
    left = host.names(f"rb-{free}-")
    Lab.remove(free)
    assert left == []


def start(name: str, *options: str) -> subprocess.Popen[str]:
    command = [*DEMO, "--name", name, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_until(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return
    pytest.fail(f"it ended before it said {words!r}")


def test_it_bonds_pulls_and_reports(name: str, tmp_path: Path) -> None:
    demo = start(name, "--seconds", "1", "--picture", str(tmp_path / "demo.svg"))
    said, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, said
    assert re.search(r"^the bond +\d+\.\d +\d+\.\d *$", said, re.MULTILINE), said
    assert re.search(r"longest silence +\d+ ms", said), said
    assert re.search(r"packets lost +\d+ of [\d,]+", said), said
    assert re.search(r"joined again after \d+ ms", said), said
    assert "link left the bond" in said
    shown = "".join(ET.parse(tmp_path / "demo.svg").getroot().itertext()).replace("\xa0", " ")
    assert re.search(r"(wan\d) is pulled: ip link set \1 down", shown), shown
    assert re.search(r"call: [\d,]+ sent", shown), shown


def test_a_picture_that_cannot_be_written_is_refused_at_once(name: str) -> None:
    said, _ = (demo := start(name, "--picture", "/nowhere/demo.svg")).communicate(timeout=20)
    assert (demo.returncode, said) == (
        1,
        "demo: cannot write to /nowhere; give another file with --picture\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["making", "wan1 alone", "bonding"])
def test_a_signal_at_any_moment_leaves_nothing_behind(name: str, moment: str, number: signal.Signals) -> None:
    demo = start(name, "--seconds", "1")
    read_until(demo, moment)
    demo.send_signal(number)
    demo.send_signal(number)  # the second, of somebody without patience
    said, _ = demo.communicate(timeout=30)
    assert demo.returncode == 128 + number, said
    assert said.endswith("demo: interrupted; all that it made is gone\n")
    assert "Traceback" not in said


def test_a_second_demo_leaves_the_first_alone(name: str) -> None:
    first = start(name)
    read_until(first, "wan1 alone")
    second, _ = start(name).communicate(timeout=20)
    assert "running on this machine already" in second
    time.sleep(0.1)
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)


def test_a_lab_that_is_in_use_is_left_alone(name: str) -> None:
    with Lab.up(["10mbit"], name=name) as lab:
        said, _ = start(name).communicate(timeout=20)
        assert f"ratbond lab down --name {name}" in said
        assert lab.client.run("ip", "link", "show", "wan1").returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seconds", "0"), "'0' is no number of seconds"),
        (("--name", "No Such Name"), "is no name for a lab"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options: tuple[str, str], message: str) -> None:
    done = subprocess.run([*DEMO, *options], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_root_it_says_so_in_one_line() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", *DEMO]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: network namespaces need root; run: sudo ")
    assert done.stderr.count("\n") == 1
