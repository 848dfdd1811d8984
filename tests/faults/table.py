"""From the results of soaks to docs/reference/reliability.md: what was done how often, and what came of it."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.catalogue import CATALOGUE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "reliability.md"
HEADS = (
    "fault", "mode", "runs", "failed", "messages acknowledged", "lost", "twice", "answers missing", "answers repeated",
    "repeats not counted", "recovery p50 s", "recovery max s",
)  # fmt: skip
INTRO = """# Reliability

<!-- Written by `python -m tests.faults.soak --table` from the results of soaks. -->

What was done to a running Kanal while citizens wrote by SMS and mail, how often, and what came of it. Each run checks from outside: every
acknowledged message settled exactly once, with the number that was promised, in the tracker, in order per sender, answered; no output
without an input; every answer that went out twice after a crash counted in `reply-settled`. Recovery is the time from the end of the
fault, or from the last message if that came later, until no stage lags, no outbox holds a row and no answer waits. A run that failed is
named with its seed below the table; the same again:

    KANAL_FAULT_SEED=SEED python -m tests.faults.soak --rounds 1 --mode MODE --fault "NAME\""""


def write_table(results: Path) -> None:
    """The page anew, from every line of `results`."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in results.read_text().splitlines():
        run = json.loads(line)
        runs[run["fault"], run["mode"]].append(run)
    rows = [_row(fault.name, mode, runs[fault.name, mode]) for fault in CATALOGUE for mode in fault.modes if (fault.name, mode) in runs]
    told = [f"- **{fault.name}** ({fault.test}): {fault.told}." for fault in CATALOGUE]
    parts = (INTRO, _loads(runs), _table(rows), "## Failed runs", _failed(runs), "## The faults", "\n".join(told))
    PAGE.write_text("\n\n".join(parts) + "\n")


def _row(fault: str, mode: str, runs: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    recovery = [run["recovery_seconds"] for run in runs if not run["error"]]
    sums = [
        sum(run[name] for run in runs)
        for name in ("acknowledged", "lost", "twice", "without_answer", "answers_repeated", "repeats_uncounted")
    ]
    failed = sum(bool(run["error"] or run["breaches"]) for run in runs)
    p50, longest = (f"{statistics.median(recovery):.1f}", f"{max(recovery):.1f}") if recovery else ("", "")
    return [fault, mode, str(len(runs)), str(failed), *map(str, sums), p50, longest]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEADS, ["---"] * len(HEADS), *rows])


def _loads(runs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> str:
    every = [run for of_fault in runs.values() for run in of_fault]
    days = sorted({run["at"][:10] for run in every})
    loads = [run["load"] for run in every]
    return f"{len(every)} runs, {days[0]} to {days[-1]}; load of the machine {min(loads):.1f} to {max(loads):.1f} (median {statistics.median(loads):.1f})."


def _failed(runs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> str:
    failed = [run for of_fault in runs.values() for run in of_fault if run["error"] or run["breaches"]]
    return "\n".join(f"- {run['fault']}, {run['mode']}, seed {run['seed']}: {_why(run)}" for run in failed) or "None."


def _why(run: Mapping[str, Any]) -> str:
    return str(run["error"].partition("\n")[0] or ", ".join(f"{name} ({found[0]})" for name, found in run["breaches"].items()))
