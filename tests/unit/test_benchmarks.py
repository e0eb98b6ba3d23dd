"""The benchmark's table: how rows are judged, and that the page shows what was measured."""

import pytest
from benchmarks.table import Row, markdown, ratio_row, read_results, seconds_row, write_results

from helpers import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
RESULTS = REPOSITORY / "benchmarks" / "results.json"


def test_ratio_is_that_of_medians_and_met_up_to_the_target():
    row = ratio_row("epoch", {"ours": [1.0, 9.0, 2.0], "bare": [4.0, 4.0, 1.0]}, 0.5)
    assert row.value == 0.5
    assert row.met
    assert row.cells()[1] == "0.50 (ours 2.00 s, 1.00-9.00; bare 4.00 s, 1.00-4.00)"
    assert seconds_row("help", [0.4], 0.3).met is False
    assert seconds_row("help", [0.4]).met is None


def test_results_are_read_as_written(tmp_path):
    rows = [seconds_row("help", [0.2, 0.4], 0.3), Row("memory", "1 GB", 1.0, "", None, {})]
    write_results(tmp_path / "results.json", {"cores": 2}, rows)
    assert read_results(tmp_path / "results.json") == ({"cores": 2}, rows)


@pytest.mark.skipif(not RESULTS.exists(), reason="no results are committed yet")
def test_page_shows_the_committed_results():
    page = PAGE.read_text()
    assert page == markdown(page, *read_results(RESULTS))
