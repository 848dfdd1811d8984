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
- A **burst** is posted at once; its latencies say how long the last citizen of ten thousand waits.
"""


_PROFILE = """
## Where the time goes

A sampled profile (py-spy) of the normalizer over 20,000 SMS, before the next change: 62 % of a batch is reading state and
deciding (20 points of it reading the text, masking 8; the rules 16; asking the database 12), 20 % is inside SQLite, 7 % making
records, 7 % the outbox, 6 % the commit, 6 % Python's garbage collector. What was gained: reading a message 183 to 61 µs (masking
97 to 21), a stage's rows by the driver instead of SQLAlchemy's compiler, batches of 500 instead of 100: processor time of the
four stages 1,620 to about 840 µs a report. Four stage threads instead of one gained nothing: Python's lock.

The aims of the project are 4,000 reports/s embedded, 2,500 on Kafka, p95 of a receipt under 100 ms and 500 ms at 100/s. **They
are missed.** Through the webhook an SMS costs 8 to 13 ms of processor time from post to receipt: HTTP in Python (h11, FastAPI),
sealing the contact, and most of all the sender, which spends about 5 ms on an answer (an HTTP request by `requests`, a claim and
a settlement in SQL). One process answers about 200 webhooks/s and 80 to 120 answers/s; what is above waits, in order and kept.
"""


def page(machine: Mapping[str, str], topics: Topics, scale: float) -> str:
    """The whole page."""
    bases = values(topics)
    sections = [_INTRO, "## Machine\n", *_table(("what", "value"), machine.items())]
    if scale != 1:
        sections.append(f"\nA run of {scale:g} times the usual size: good for trying, not for comparing.")
    for title, figures in topics.items():
        sections += [f"\n## {title}\n", *_table(HEADINGS, rows(figures, bases))]
    return "\n".join(sections) + "\n" + _PROFILE


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *lines)]
