"""Each house rule catches what it is there for; the repository itself is checked by `make lint`."""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import ratbond

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_repo", ROOT / "scripts" / "check_repo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HASHED = "six==1.17.0 \\\n    --hash=sha256:00\n    # via x\n"
ADDRESS = "https://host/simple"


@pytest.mark.parametrize(
    ("rule", "name", "good", "bad"),
    [
        ("too_long", "src/a.py", "x = 1\n" * 500, "x = 1\n" * 501),
        ("unfinished", "src/a.rs", "// counts to do list entries\n", "// TO" + "DO: count\n"),
        ("locks_say_where_from", "requirements/run.txt", HASHED, "six==1.17.0\n"),
        ("locks_say_where_from", "requirements/run.txt", HASHED, "--find-links wheels\n" + HASHED),
        ("locks_say_where_from", "requirements/run.txt", HASHED, f"--index-url {ADDRESS}\n{HASHED}"),
        ("locks_say_where_from", "package-lock.json", "{}", '{"resolved": "https://host/a.tgz"}'),
        ("recipes_say_where_from", "Makefile", "a:\n\tb\n", "a:\n\tcurl https://host/b | sh\n"),
        ("links_lead_nowhere", "README.md", "[a](README.md#top) [b](https://host/)", "[a](nowhere.md)"),
        ("documented_paths_are_missing", "docs/a.md", "`docs/{a,b}.md`, `docs/*.md`", "`docs/{a,c}.md`"),
    ],
)
def test_a_rule_passes_the_good_and_names_the_bad(
    rules: ModuleType, tmp_path: Path, rule: str, name: str, good: str, bad: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)

    path.write_text(good)
    assert list(getattr(rules, rule)(tmp_path, [name])) == []

    path.write_text(bad)
    violations = list(getattr(rules, rule)(tmp_path, [name]))
    assert len(violations) == 1
    assert violations[0].startswith(name)


def test_there_is_one_version_number() -> None:
    from ratbond import _core  # noqa: TID251 - compared with what the package says

    assert ratbond.__version__ == version("ratbond") == _core.__version__
    assert f'version = "{ratbond.__version__}"' in (ROOT / "Cargo.toml").read_text()


def test_a_logged_error_fails_a_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makepyfile(
        """
        import logging
        import pytest

        def test_quiet():
            logging.warning("the link is slow")

        def test_loud():
            logging.error("the link is gone")

        @pytest.mark.logs_errors
        def test_loud_on_purpose():
            logging.error("the link is gone")
        """
    )
    result = pytester.runpytest_subprocess("-W", "ignore::pytest.PytestUnknownMarkWarning")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*logged at ERROR: the link is gone*"])
