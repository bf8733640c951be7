"""Bonds several WAN links of a Linux machine into one tunnel."""

from importlib.metadata import version

__version__ = version("ratbond")
