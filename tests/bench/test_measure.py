"""What a reader of the benchmark's table relies on: ratios to the figure that is named, honest percentiles, a page that is left alone."""

import pytest

from bench.measure import Figure, latencies, percentile, table
from bench.page import PAGE, page
from docs.generate import generated

TOPICS = {
    "Limits": [Figure("loop", 200.0, "messages/s")],
    "Kanal": [Figure("stage", 50.0, "messages/s", "batch 100", "loop"), Figure("alone", 3.0, "ms", "", "never measured")],
}


def test_a_ratio_is_to_the_figure_that_is_named_whatever_its_topic() -> None:
    stage = next(line for line in table(TOPICS).splitlines() if line.startswith("stage"))
    assert stage.split() == ["stage", "50.0", "messages/s", "0.25", "loop", "batch", "100"]


def test_a_figure_whose_base_was_not_measured_has_no_ratio() -> None:
    alone = next(line for line in table(TOPICS).splitlines() if line.startswith("alone"))
    assert alone.split() == ["alone", "3.00", "ms"]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_measured_value(share: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected


def test_latencies_are_told_in_milliseconds() -> None:
    assert [figure.value for figure in latencies("answer", [0.002])] == [2.0, 2.0, 2.0]


def test_the_page_shows_machine_and_figures_and_says_when_the_run_was_a_small_one() -> None:
    written = page({"Memory": "2 GiB"}, TOPICS, 0.1)
    assert "| Memory | 2 GiB |" in written
    assert "| stage | 50.0 | messages/s | 0.25 | loop | batch 100 |" in written
    assert "0.1 times the usual size" in written
    assert "times the usual size" not in page({}, TOPICS, 1.0)


def test_the_generator_of_reference_pages_leaves_the_page_alone() -> None:
    """`make docs` removes pages that say they are generated and that it no longer writes."""
    assert PAGE not in generated()
    assert "Generated, do not edit" not in page({}, TOPICS, 1.0)
