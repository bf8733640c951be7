"""The lab's own door to the compiled module; nothing else in the lab imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratbond._core import Emulator, EngineError

if TYPE_CHECKING:
    from ratbond._core import DirectionStats, EmulatorStats, LinkSettings, LinkStats

__all__ = ["DirectionStats", "Emulator", "EmulatorStats", "EngineError", "LinkSettings", "LinkStats"]
