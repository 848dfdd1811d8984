"""What a process costs, seen from outside: seconds of processor time and the highest memory since a moment."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Between two readings."""

    cpu_seconds: float
    growth_megabytes: float
    """The peak of resident memory above what it was at the beginning, however short it was."""


class Meter:
    """Reads one process. The kernel keeps the peak itself, so that nothing between two looks is missed."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        (self._proc / "clear_refs").write_text("5")  # the peak begins anew, see proc(5)
        self._cpu, self._resident = self._cpu_seconds(), self._kilobytes("VmRSS")

    def cost(self) -> Cost:
        """Since this meter was made."""
        return Cost(self._cpu_seconds() - self._cpu, (self._kilobytes("VmHWM") - self._resident) / 1024)

    def _cpu_seconds(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _kilobytes(self, name: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
