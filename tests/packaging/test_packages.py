"""What a user installs: the wheel in a clean virtual environment, and what a source distribution holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ratbond import __version__

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CHARTS = "ratbond/status/web/vendor/uPlot.esm.js"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="building a wheel needs cargo"),
]


def run(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    """Runs a command with the tools of this environment first, and gives its output."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing in it but a wheel, made as ``pip install .`` makes it, and what that needs."""
    directory = tmp_path_factory.mktemp("installed")
    run("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={directory}", ".")
    (wheel,) = directory.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    clean = directory / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", clean)
    into = ("--quiet", f"--python={clean}/bin/python")
    run("uv", "pip", "install", *into, "--require-hashes", "-r", "requirements/run.txt")
    run("uv", "pip", "install", *into, "--no-deps", wheel)
    run("uv", "pip", "check", *into)
    return clean


def test_the_wheel_works_in_a_clean_environment(installed: Path, tmp_path: Path) -> None:
    ratbond, python = installed / "bin/ratbond", installed / "bin/python"
    assert run(ratbond, "--version", cwd=tmp_path) == f"ratbond {__version__}\n"
    assert len(run(ratbond, "keygen", cwd=tmp_path).strip()) >= 32
    assert "complete -o default" in run(ratbond, "completions", "bash", cwd=tmp_path)
    where = run(python, "-c", "import ratbond; print(ratbond.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed))
    embedded = "from ratbond import Bond; Bond(connect_addr='192.0.2.1:12345'); print('good')"
    assert run(python, "-c", embedded, cwd=tmp_path) == "good\n"


def test_the_wheel_brings_manual_units_types_and_the_dashboards_charts(installed: Path) -> None:
    assert (installed / "share/man/man1/ratbond.1").read_text().startswith(".TH RATBOND 1")
    (packages,) = installed.glob("lib/python3*/site-packages")
    for name in ("py.typed", "_core.pyi", "service/files/ratbond-client.service", "status/web/index.html"):
        assert (packages / "ratbond" / name).is_file(), name
    assert (packages / CHARTS).is_file() or shutil.which("npm") is None


def test_the_source_distribution_is_whole(tmp_path: Path) -> None:
    """What it is built from is all in it: the workspace with its lock, and what the wheel takes besides."""
    run("maturin", "sdist", f"--out={tmp_path}")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert (source / "packaging/data/data/share/man/man1/ratbond.1").is_file()
    assert (source / "LICENSE").is_file()
    assert (source / "src" / CHARTS).is_file() or shutil.which("npm") is None
    run("cargo", "metadata", "--locked", "--offline", "--format-version=1", cwd=source)
