"""What systemd's own journal makes of a log: it can be asked by the facts of events. It runs in a /run of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOURNALD = Path("/usr/lib/systemd/systemd-journald")

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        not JOURNALD.exists() or shutil.which("journalctl") is None,
        reason="systemd's journal is not installed",
    ),
]

SCRIPT = f"""
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal
{JOURNALD} 2>/run/journald.log & journald=$!
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.05; done
"$1" -c '
from ratbond import logs
logs.configure(debug=False, syslog=True, form="journal")
log = logs.get_logger("ratbond.x")
for link in ("wan1", "wan2"):
    log.warning("link left the bond", link=link, why="carrier lost", links_up=1)'
journalctl --sync 2>/dev/null || sleep 0.5
journalctl --directory=/run/log/journal --output=json LINK=wan2
kill $journald
"""


def test_the_journal_finds_an_event_by_its_link() -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--fork", "--pid", "--kill-child", "bash", "-euc", SCRIPT, "bash", sys.executable],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    entry = json.loads(line)
    assert (entry["EVENT"], entry["REASON"], entry["PRIORITY"]) == ("link left the bond", "carrier lost", "4")
    assert entry["MESSAGE"] == 'link left the bond link=wan2 why="carrier lost" links_up=1'
