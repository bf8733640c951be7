"""Runs a Python program whose bonds do without segmentation offload, as --no-offload has it for the command."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import ratbond


class Bond(ratbond.Bond):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"no_offload": True, **settings})


vars(ratbond)["Bond"] = Bond
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
