"""Emulated WAN links between network namespaces of one machine, for trying, testing and measuring."""

from ratbond.lab.errors import CommandError, LabError
from ratbond.lab.host import Host
from ratbond.lab.lab import Lab
from ratbond.lab.link import Link
from ratbond.linkspec import LinkSpec, SpecError

__all__ = ["CommandError", "Host", "Lab", "LabError", "Link", "LinkSpec", "SpecError"]
