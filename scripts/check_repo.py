"""House rules that no linter knows; `make lint` runs it, tests/repo holds it to its word.

Each rule takes the repository's root and the tracked files, and yields one line for each violation.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 500
SOURCE_SUFFIXES = {".css", ".go", ".html", ".js", ".py", ".pyi", ".rs", ".sh", ".ts"}
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
URL = re.compile(r"\b[a-z][a-z0-9+]*://", re.IGNORECASE)
WHERE_FROM = re.compile(
    r"^\s*--(?:index-url|extra-index-url|find-links|trusted-host)|^\s*-[fi]\s", re.MULTILINE
)
REQUIREMENT = re.compile(r"^[A-Za-z0-9](?:\\\n|[^\n])*", re.MULTILINE)
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH_IN_PROSE = re.compile(
    r"`((?:\.ci|\.github|bench|crates|docs|packaging|scripts|src|tests)/[\w./{},*-]*)`"
)


def too_long(root: Path, tracked: list[str]) -> Iterator[str]:
    """A file that nobody can hold in their head."""
    for name in tracked:
        path = root / name
        if path.suffix in SOURCE_SUFFIXES:
            lines = path.read_bytes().count(b"\n")
            if lines > MAX_LINES:
                yield f"{name}: {lines} lines; split it ({MAX_LINES} at most)"


def unfinished(root: Path, tracked: list[str]) -> Iterator[str]:
    """A note to oneself; what is left to do belongs in an issue."""
    for name in tracked:
        if Path(name).suffix in SOURCE_SUFFIXES or name.endswith((".md", ".toml")):
            for number, line in enumerate((root / name).read_text().splitlines(), 1):
                if UNFINISHED.search(line):
                    yield f"{name}:{number}: unfinished: {line.strip()}"


def locks_say_where_from(root: Path, tracked: list[str]) -> Iterator[str]:
    """A lock pins what is installed by hash; from where is the installing machine's business."""
    for name in tracked:
        if re.fullmatch(r"requirements/.*\.txt", name):
            text = (root / name).read_text()
            if URL.search(text) or WHERE_FROM.search(text):
                yield f"{name}: names an index or an address; make it with `make lock`"
            for match in REQUIREMENT.finditer(text):
                if "--hash=sha256:" not in match[0]:
                    yield f"{name}: no hash: {match[0].splitlines()[0]}"
        elif name.endswith("package-lock.json") and '"resolved": "http' in (root / name).read_text():
            yield f"{name}: names a registry; make it with npm's omit-lockfile-registry-resolved"


def recipes_say_where_from(root: Path, tracked: list[str]) -> Iterator[str]:
    """What installs and builds uses the package clients as they are set up, and downloads nothing by address."""
    for name in tracked:
        recipe = name in {"Makefile", "pyproject.toml"} or name.startswith((".ci/", "scripts/"))
        if recipe and name != "scripts/check_repo.py" and URL.search((root / name).read_text()):
            yield f"{name}: names an address"


def links_lead_nowhere(root: Path, tracked: list[str]) -> Iterator[str]:
    """A relative link in a Markdown file must lead to a file."""
    for name in tracked:
        if name.endswith(".md"):
            for target in MARKDOWN_LINK.findall((root / name).read_text()):
                file = target.partition("#")[0]
                elsewhere = URL.match(target) or target.startswith("mailto:")
                if file and not elsewhere and not (root / name).parent.joinpath(file).exists():
                    yield f"{name}: link leads nowhere: {target}"


def documented_paths_are_missing(root: Path, tracked: list[str]) -> Iterator[str]:
    """A path that the documentation names must be there; `{a,b}` and `*` are expanded."""
    for name in tracked:
        if re.fullmatch(r"(?:README|docs/[\w-]+)\.md", name):
            for spelled in PATH_IN_PROSE.findall((root / name).read_text()):
                for path in expand_braces(spelled):
                    if not any(root.glob(path.rstrip("/"))):
                        yield f"{name}: names {path}, which does not exist"


def expand_braces(path: str) -> list[str]:
    """`a/{b,c}/d` is `a/b/d` and `a/c/d`, as a shell reads it."""
    match = re.search(r"\{([^{}]*)\}", path)
    if match is None:
        return [path]
    return [
        expanded
        for choice in match[1].split(",")
        for expanded in expand_braces(path[: match.start()] + choice + path[match.end() :])
    ]


RULES = (
    too_long,
    unfinished,
    locks_say_where_from,
    recipes_say_where_from,
    links_lead_nowhere,
    documented_paths_are_missing,
)


def tracked_files(root: Path) -> list[str]:
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [name for name in listing.split("\0") if name and (root / name).is_file()]


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    tracked = tracked_files(root)
    violations = [violation for rule in RULES for violation in rule(root, tracked)]
    for violation in violations:
        print(violation, file=sys.stderr)
    print(f"check_repo: {len(RULES)} rules, {len(tracked)} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
