"""From the results of soaks to docs/reference/: reliability.json tallies every soak, reliability.md tells them together.

A soak's results are many lines on the machine where it ran; what the page needs of them is kept here, so that soaks of other days and
machines add up.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.catalogue import CATALOGUE

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
HEADS = (
    "fault", "mode", "runs", "failed", "messages acknowledged", "lost", "twice", "answers missing", "answers repeated",
    "repeats not counted", "recovery p50 s", "recovery max s",
)  # fmt: skip
COUNTS = ("acknowledged", "lost", "twice", "without_answer", "answers_repeated", "repeats_uncounted")
INTRO = """# Reliability

<!-- Written by `python -m tests.faults.soak --table` from the results of soaks and reliability.json, where earlier ones are kept. -->

What was done to a running Kanal while citizens wrote by SMS and mail, how often, and what came of it. Each run checks from outside: every
acknowledged message settled exactly once, with the number that was promised, in the tracker, in order per sender, answered; no output
without an input; every answer that went out twice after a crash counted in `reply-settled`. Recovery is the time from the end of the
fault, or from the last message if that came later, until no stage lags, no outbox holds a row and no answer waits: its p50 in the latest
soak that did this fault, its longest in all. A run that failed is named with its seed below the table; the same again:

    KANAL_FAULT_SEED=SEED python -m tests.faults.soak --rounds 1 --mode MODE --fault "NAME\""""

CAUSES = """These runs could not be brought to their end, so the checker has not looked at them; all others it has.

- **zombie** (three, 2026-11-24): the citizens had written everything before the member that was to be frozen got a batch. They write
  for a minute now.
- **broker hangs** (seven, 2026-11-24 and 28): after the broker went on, a producer got no acknowledgement for minutes, or a consumer whose
  coordinator was gone never left its group and kept its successor from being made. Mended in `kanal/journal/kafka_append.py` and
  `kafka_read.py`: what stands still is replaced by a new client, and a stage never waits for the old one.
- **one clock wrong** (2026-11-24 and 30): under libfaketime 0.9.10 every `time.sleep` of Python 3.11 fails (its issue 426), and services
  on Kafka did not come up with it. Clocks are set wrong by time-machine since (commit ef4abaf).
- **members come and go** (one, 2026-11-30): a sender that was killed for good left an answer's `reply-settled` in its outbox, and the others of
  its channel looked there only at their own start. Mended in `kanal/sending.py`: they look twice a minute."""


class Row(NamedTuple):
    """What one soak, or all together, did of one fault in one mode; a line of the table."""

    fault: str
    mode: str
    runs: int
    failed: int
    acknowledged: int
    lost: int
    twice: int
    without_answer: int
    answers_repeated: int
    repeats_uncounted: int
    recovery_p50: float | None
    """Seconds; None when every run failed before it could be measured."""
    recovery_max: float | None


class Soak(NamedTuple):
    """One soak, tallied."""

    began: str
    """When its first run ended (ISO 8601, UTC): tells soaks apart."""
    ended: str
    commits: Sequence[str]
    load: Sequence[float]
    """Of the machine: least, median, most."""
    rows: Sequence[Row]
    failed: Sequence[str]
    """A sentence for each failed run."""


def write_table(results: Path, reference: Path = REFERENCE) -> None:
    """Both files anew. `results`, where there are any, are a soak of their own, or what became of the one that began with them."""
    kept = {soak.began: soak for soak in read_soaks(reference)}
    if results.exists():
        soak = tally([json.loads(line) for line in results.read_text().splitlines()])
        kept[soak.began] = soak
    soaks = [kept[began] for began in sorted(kept)]
    (reference / "reliability.json").write_text("[\n" + ",\n".join(map(_as_json, soaks)) + "\n]\n")
    told = [f"- **{fault.name}** ({fault.test}): {fault.told}." for fault in CATALOGUE]
    failed = [f"- {why}" for soak in soaks for why in soak.failed] or ["None."]
    parts = (
        INTRO, _soaks(soaks), _table(HEADS, together(soaks)), "## Failed runs", CAUSES, "\n".join(failed), "## The faults", "\n".join(told),
    )  # fmt: skip
    (reference / "reliability.md").write_text("\n\n".join(parts) + "\n")


def read_soaks(reference: Path = REFERENCE) -> Sequence[Soak]:
    """Those that are kept, the oldest first."""
    kept = json.loads((reference / "reliability.json").read_text())
    return [Soak(**{**soak, "rows": [Row(*row) for row in soak["rows"]]}) for soak in kept]


def tally(runs: Sequence[Mapping[str, Any]]) -> Soak:
    """One soak from its results, which are in the order in which they came."""
    of_fault: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        of_fault[run["fault"], run["mode"]].append(run)
    loads = [run["load"] for run in runs]
    return Soak(
        began=runs[0]["at"],
        ended=runs[-1]["at"],
        commits=list(dict.fromkeys(run["commit"] for run in runs)),
        load=[min(loads), round(statistics.median(loads), 1), max(loads)],
        rows=[_row(fault, mode, of_fault[fault, mode]) for fault, mode in _in_order(of_fault)],
        failed=[f"{run['fault']}, {run['mode']}, seed {run['seed']}: {_why(run)}" for run in runs if _is_failed(run)],
    )


def together(soaks: Sequence[Soak]) -> Sequence[Row]:
    """All soaks as one: sums, the longest recovery, the latest median."""
    of_fault: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for soak in soaks:
        for row in soak.rows:
            of_fault[row.fault, row.mode].append(row)
    return [_sum(of_fault[fault, mode]) for fault, mode in _in_order(of_fault)]


def _in_order(of_fault: Mapping[tuple[str, str], object]) -> Sequence[tuple[str, str]]:
    return [(fault.name, mode) for fault in CATALOGUE for mode in fault.modes if (fault.name, mode) in of_fault]


def _row(fault: str, mode: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    recovery = [run["recovery_seconds"] for run in runs if not run["error"]]
    p50, longest = (round(statistics.median(recovery), 1), round(max(recovery), 1)) if recovery else (None, None)
    return Row(fault, mode, len(runs), sum(map(_is_failed, runs)), *(sum(run[count] for run in runs) for count in COUNTS), p50, longest)


def _sum(rows: Sequence[Row]) -> Row:
    measured = [row for row in rows if row.recovery_max is not None]
    counts = (sum(column) for column in list(zip(*rows, strict=True))[2:-2])
    return Row(
        rows[0].fault,
        rows[0].mode,
        *counts,
        recovery_p50=measured[-1].recovery_p50 if measured else None,
        recovery_max=max((row.recovery_max for row in measured if row.recovery_max is not None), default=None),
    )


def _soaks(soaks: Sequence[Soak]) -> str:
    lines = [
        (
            soak.began[:10],
            " to ".join(dict.fromkeys((soak.commits[0], soak.commits[-1]))),
            sum(row.runs for row in soak.rows),
            len(soak.failed),
            sum(row.acknowledged for row in soak.rows),
            f"{soak.load[0]} to {soak.load[2]}, median {soak.load[1]}",
        )
        for soak in soaks
    ]
    return _table(("soak", "of commits", "runs", "failed", "messages acknowledged", "load of the machine"), lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    told = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *told])


def _is_failed(run: Mapping[str, Any]) -> bool:
    return bool(run["error"] or run["breaches"])


def _why(run: Mapping[str, Any]) -> str:
    return str(run["error"].partition("\n")[0] or ", ".join(f"{name} ({found[0]})" for name, found in run["breaches"].items()))


def _as_json(soak: Soak) -> str:
    """A line for each row and each failed run: differences can be read."""
    listed = {name: "[\n  " + ",\n  ".join(map(json.dumps, getattr(soak, name))) + "\n]" for name in ("rows", "failed")}
    fields = [f'"{name}": {listed.get(name) or json.dumps(value)}' for name, value in soak._asdict().items()]
    return "{" + ", ".join(fields) + "}"
