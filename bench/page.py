"""docs/reference/performance.md: the figures of one run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.measure import HEADINGS, Topics, rows, values

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "performance.md"

_INTRO = """\
# Performance

<!-- Written by `python -m bench --write`. -->

What one run measured, all of it on this one machine: Kanal, Kafka, PostgreSQL, the gateway and who asks share its processors. Only
ratios within a run can be expected again elsewhere; each is to the figure named beside it.

    make bench                                      everything, about a quarter of an hour; prints the table
    make bench BENCH=--write                        writes this page too
    make bench BENCH="--only peers --scale 0.1"     a part of it, smaller

How to read it:

- **Kanal's normalizer** keeps what it knows of senders, texts and conversations in PostgreSQL, and drops repeats. The other engines run the
  same rules without any of this; what they save is what Kanal's promises cost. Kafka transactions do not reach a database, so an engine
  with "exactly-once" would repeat its changes there after a crash.
- **Acknowledged** means on disk with SQLite and PostgreSQL. Kafka's node acknowledges what the operating system has: one node outlives
  a killed process, not a power cut; use three.
- **Latency** counts from the time at which a message was to be posted, so that waiting for a busy Kanal is not left out.
- Where the time goes, and what was tried: [decision 12](../decisions/0012-rows-past-the-compiler.md).
- A **burst** is posted at once; its latencies say how long the last citizen of ten thousand waits.
"""


def page(machine: Mapping[str, str], topics: Topics, scale: float) -> str:
    """The whole page."""
    bases = values(topics)
    sections = [_INTRO, "## Machine\n", *_table(("what", "value"), machine.items())]
    if scale != 1:
        sections.append(f"\nA run of {scale:g} times the usual size: good for trying, not for comparing.")
    for title, figures in topics.items():
        sections += [f"\n## {title}\n", *_table(HEADINGS, rows(figures, bases))]
    return "\n".join(sections) + "\n"


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *lines)]
