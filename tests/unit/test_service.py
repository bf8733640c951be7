"""The plans of `ratbond service`, and the files that it installs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ratbond.service import machine as system
from ratbond.service.plan import (
    Machine,
    Manager,
    Own,
    Remove,
    Run,
    Write,
    init_script,
    install,
    remove,
    unit,
)

SYSTEMD = Machine(Manager.SYSTEMD, ("/opt/ratbond/bin/ratbond",), runs=True, user_exists=False)
PROCD = replace(SYSTEMD, manager=Manager.PROCD)
KEY = Path("/etc/ratbond/secret")


def commands(steps: list[object]) -> list[str]:
    return [" ".join(step.words) for step in steps if isinstance(step, Run)]


def test_a_service_is_enabled_and_started_only_where_it_has_a_configuration() -> None:
    assert "systemctl restart ratbond-client.service" not in commands(list(install(SYSTEMD, "client")))
    configured = replace(SYSTEMD, configurations=frozenset({"client"}))
    assert commands(list(install(configured, "client")))[-1] == "systemctl restart ratbond-client.service"


def test_the_user_is_there_before_it_is_given_the_secrets() -> None:
    steps = install(replace(SYSTEMD, secrets=(KEY,)), "client")
    assert isinstance(steps[0], Run)
    assert steps[0].words[0] == "useradd"
    assert steps[1] == Own(KEY, "ratbond")


def test_what_the_other_end_needs_stays_until_it_goes_too() -> None:
    both = replace(SYSTEMD, user_exists=True, kept=(KEY,), units=frozenset({"client", "server"}))
    assert not any(
        isinstance(step, Own) or step == Run(("userdel", "ratbond")) for step in remove(both, "client")
    )
    last = remove(replace(both, units=frozenset({"server"})), "server")
    assert last.index(Own(KEY, "root")) < last.index(Run(("userdel", "ratbond")))


def test_below_another_root_nobody_is_told_and_no_user_is_made_or_removed() -> None:
    elsewhere = replace(SYSTEMD, runs=False, user_exists=None)
    assert not commands([*install(elsewhere, "server"), *remove(elsewhere, "server")])


def test_openwrt_gets_an_executable_init_script() -> None:
    first = install(PROCD, "client")[0]
    assert isinstance(first, Write)
    assert (first.path, first.mode) == (Path("/etc/init.d/ratbond"), 0o755)
    assert remove(PROCD, "client")[-1] == Remove(Path("/etc/init.d/ratbond"))


def test_files_are_written_and_removed_below_the_root(tmp_path: Path) -> None:
    system.do(list(install(PROCD, "client"))[:1], tmp_path)
    script = tmp_path / "etc/init.d/ratbond"
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert "RATBOND=/opt/ratbond/bin/ratbond\n" in script.read_text()
    system.do([Remove(Path("/etc/init.d/ratbond"))], tmp_path)
    assert not script.exists()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("/opt/rat bond/ratbond",), 'ExecStart="/opt/rat bond/ratbond" client '),
        (("/opt/100%/python", "-m", "ratbond"), "ExecStart=/opt/100%%/python -m ratbond client "),
    ],
)
def test_odd_paths_are_quoted_as_systemd_reads_them(command: tuple[str, ...], line: str) -> None:
    assert line in unit("client", command)


def test_a_program_below_home_is_not_hidden_from_its_own_service() -> None:
    assert "ProtectHome=read-only" in unit("client", ("/home/me/venv/bin/ratbond",))
    assert "ProtectHome=yes" in unit("client", ("/opt/venv/bin/ratbond",))


def test_the_two_units_differ_in_nothing_but_their_end() -> None:
    def of(role: str) -> list[str]:
        lines = unit(role, ("/usr/bin/ratbond",)).replace(role, "END").splitlines()
        return [line for line in lines if not line.startswith("Description=")]

    assert of("client") == of("server")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("role", ["client", "server"])
def test_systemd_understands_every_line_of_the_units(role: str, tmp_path: Path) -> None:
    program = tmp_path / "ratbond"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / f"ratbond-{role}.service"
    text = unit(role, (str(program),)).replace("Documentation=man:ratbond(1)\n", "")
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


RC_COMMON = """
for word in procd_open_instance procd_set_param procd_close_instance procd_send_signal; do
  eval "$word() { echo $word \\"\\$@\\"; }"
done
"""


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_the_init_script_starts_the_ends_that_are_configured(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = init_script(("/opt/ratbond/bin/ratbond",)).replace("/etc/ratbond/", f"{tmp_path}/")
    (tmp_path / "server.toml").touch()
    words = [shell, *(["sh"] if shell == "busybox" else []), "-euc"]
    done = subprocess.run(
        [*words, f"{RC_COMMON}\n{script}\nstart_service; reload_service"],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "procd_open_instance server"
    assert (
        f"procd_set_param command /opt/ratbond/bin/ratbond server --config={tmp_path}/server.toml --nosyslog"
        in lines
    )
    assert not any("client" in line for line in lines)
    assert lines[-1] == "procd_send_signal ratbond * HUP"
