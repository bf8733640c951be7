"""Notes of ends that were killed in namespaces that are gone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ratbond.netcfg.journal import Journal, state_directory
from ratbond.netcfg.leftovers import sweep

from .conftest import Shell

pytestmark = pytest.mark.netns

GONE = "net-7-1"  # no namespace has the inode 1


def test_what_a_deleted_namespace_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / GONE).mkdir()
    (tmp_path / GONE / "client-660.json").write_text("{}")
    (tmp_path / GONE / "client-660.lock").touch()
    (tmp_path / "something else").mkdir()
    assert sweep(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["something else"]


def test_notes_that_an_end_holds_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / GONE).mkdir()
    with (tmp_path / GONE / "client-660.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(tmp_path) == 0
    assert (tmp_path / GONE).exists()


def test_notes_of_a_namespace_that_lives_are_left_alone(
    inside_namespace: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del inside_namespace
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    os.close(Journal(state_directory(), "client-660")._lock)  # as kill -9 would
    assert sweep(tmp_path) == 0
    assert state_directory().is_dir()


def test_a_lock_that_somebody_holds_for_ever_is_an_error_and_no_wait(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "client-660")
    with (tmp_path / "sysctls.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process holds"), journal.sysctls():
            pass
