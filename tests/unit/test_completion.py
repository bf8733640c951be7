"""What Tab offers, in a real bash, and to zsh and fish as their scripts ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RATBOND = Path(sys.executable).with_name("ratbond")


def ask(line: str, **environment: str) -> list[str]:
    """Runs ``ratbond`` as a completion script does."""
    done = subprocess.run(
        [str(RATBOND)], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stderr == "", line
    return done.stdout.splitlines()


def in_bash(*lines: str) -> list[list[str]]:
    """What the script for bash offers at the end of each line."""
    script = "set -eu\nsource <(ratbond completions bash)\n"
    for line in lines:
        words = line.split() + ([""] if line.endswith(" ") else [])
        quoted = " ".join(f"'{word}'" for word in words)
        script += f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _ratbond_completion ratbond\n"
        script += 'echo "${COMPREPLY[*]}"\n'
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{RATBOND.parent}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_flags_and_values() -> None:
    lines = {
        "ratbond pl": ["plan"],
        "ratbond client --log-format j": ["json", "journal"],
        "ratbond plan server --jso": ["--json"],
        "ratbond client rev": ["revoke"],
        "ratbond --connect-a": ["--connect-addr"],
        "ratbond --vers": ["--version"],
        "ratbond service install ": ["client", "server"],
    }
    assert dict(zip(lines, in_bash(*lines), strict=True)) == lines


def test_an_interface_is_completed() -> None:
    (offered,) = in_bash("ratbond client --no-wan l")
    assert "lo" in offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_and_are_answered(shell: str) -> None:
    script = subprocess.run(
        [str(RATBOND), "completions", shell], capture_output=True, text=True, check=True
    ).stdout
    assert f"_RATBOND_COMPLETE=complete_{shell}" in script
    offered = ask(
        "ratbond server --cipher=", _RATBOND_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS="ratbond server --ciph",
    )  # fmt: skip
    assert any("--cipher" in line for line in offered)


def test_a_shell_that_is_not_known_is_an_error_of_one_line() -> None:
    done = subprocess.run([str(RATBOND), "completions", "ksh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'ksh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
