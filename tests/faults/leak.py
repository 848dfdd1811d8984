"""T16: memory and open files of every process under steady load. `KANAL_LEAK_MINUTES` says for how long (one hour by default)."""

import itertools
import os
import statistics
import time
from pathlib import Path

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits

MINUTES = float(os.environ.get("KANAL_LEAK_MINUTES", "60"))
STEADY = Habits(pause_seconds=1.5, at_most=24)
"""Below the thirty messages an hour that Kanal takes from one sender: then others write."""

SAMPLE_SECONDS = 1.0
WARM_UP = 0.4
"""This share of the time is not looked at: caches and pools fill."""

MEBIBYTES_PER_HOUR = 30.0
FILES_PER_HOUR = 20.0


def steady(run: Run) -> None:
    """After a warm-up neither memory nor open files grow."""
    samples: dict[str, list[tuple[float, float, float]]] = {process.name: [] for process in run.town.kanal.processes.values()}
    until = time.monotonic() + MINUTES * 60
    for wave in itertools.count():
        with run.traffic(STEADY, wave=wave) as traffic:
            while time.monotonic() < until and not traffic.everybody_wrote:
                for process in run.town.kanal.processes.values():
                    samples[process.name].append((time.monotonic(), *_used(process.pids)))
                time.sleep(SAMPLE_SECONDS)
        if time.monotonic() >= until:
            break
    for name, taken in samples.items():
        memory, files = _per_hour(taken[int(len(taken) * WARM_UP) :])
        print(f"  {name}: {memory:+.1f} MiB/h, {files:+.1f} open files/h, now {taken[-1][1]:.0f} MiB, {taken[-1][2]:.0f} files")  # noqa: T201
        # Over a short time the slope is mostly noise: what counts is what it would come to in the time that was looked at.
        hours = max(1.0, 60 / MINUTES)
        assert memory < MEBIBYTES_PER_HOUR * hours, f"{name} grows by {memory:.0f} MiB an hour"
        assert files < FILES_PER_HOUR * hours, f"{name} opens {files:.0f} more files an hour"


def _used(pids: set[int]) -> tuple[float, float]:
    """MiB in memory and open files of a process with all its children."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    files = sum(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024, float(files)


def _per_hour(taken: list[tuple[float, float, float]]) -> tuple[float, float]:
    times = [at for at, _, _ in taken]
    memory, files = (statistics.linear_regression(times, [each[column] for each in taken]).slope * 3_600 for column in (1, 2))
    return memory, files


FAULTS = [
    Fault(
        "steady load", "T16", "Citizens write for an hour; memory and open files of every process are watched", steady, quick=(), rounds=1
    )
]
