"""Labs for tests, with names that no other run has."""

import os
from collections.abc import Callable, Iterator

import pytest

from ratbond.lab import Lab

MakeLab = Callable[..., Lab]


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A free name; whatever the test leaves under it is taken away."""
    name = f"t{os.getpid()}"
    yield name
    Lab.remove(name)


@pytest.fixture
def make_lab(lab_name: str) -> Iterator[MakeLab]:
    """Makes the test's lab, and takes it down afterwards."""
    labs: list[Lab] = []

    def make(*links: str, seed: int = 1) -> Lab:
        labs.append(Lab.up(links, name=lab_name, seed=seed))
        return labs[-1]

    yield make
    for lab in labs:
        lab.down()
