"""What holds for every test: an ERROR in a log is a failure, and namespace tests run only where they can."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of what is random is tried (tests/net/test_killed.py), and with which offload."""
    parser.addoption("--moments", type=int, default=6, help="at how many random moments an end is killed")
    parser.addoption("--seed", type=int, default=1, help="which moments those are")
    parser.addoption("--no-offload", action="store_true", help="start every end without segmentation offload")


def pytest_configure() -> None:
    """A shell starts what runs in its background with SIGINT ignored, and what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="network namespaces need root")
    for item in items:
        if item.get_closest_marker("netns"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _no_error_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test during which anything logged an ERROR, unless it is marked ``logs_errors``."""
    yield
    if request.node.get_closest_marker("logs_errors"):
        return
    errors = [
        record.getMessage()
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.ERROR
    ]
    if errors:
        pytest.fail("logged at ERROR: " + "; ".join(errors))
