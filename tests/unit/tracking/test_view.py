"""The experiment's description and shared view."""

import json
from pathlib import Path

from helpers import NewStore
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
from rhobeta.tracking.tags import NOTE_TAG
from rhobeta.tracking.view import VIEW_TAG, curve_name, view_link, view_state


def test_view_is_renewed_and_a_users_description_stays(tmp_path: Path, new_store: NewStore) -> None:
    paths = Paths(tmp_path, tmp_path)
    store = new_store(paths, "tests")
    number, client = store.experiment_id, store.client
    link = view_link(number)
    assert link.partition("viewStateShareKey=")[2] == VIEW_TAG.rpartition(".")[2]
    tags = client.get_experiment(number).tags
    assert f"]({link})" in tags[NOTE_TAG]
    assert "metrics.`test/mse`" in json.loads(tags[VIEW_TAG])["selectedColumns"]
    client.set_experiment_tag(number, NOTE_TAG, "mine")
    client.set_experiment_tag(number, VIEW_TAG, "{}")
    open_store(paths, "tests")
    again = client.get_experiment(number).tags
    assert again[NOTE_TAG] == "mine"
    assert again[VIEW_TAG] == tags[VIEW_TAG]


def test_view_compares_numbers_that_hold_for_any_beta() -> None:
    view = json.loads(json.dumps(view_state()))
    (section,) = view["compareRunSections"]
    names = set()
    for chart in view["compareRunCharts"]:
        assert chart["metricSectionId"] == section["uuid"]
        names |= {chart.get("metricKey"), chart.get("yaxis", {}).get("key")}
    assert "test/mse" in names
    assert not {name for name in names if name and "loss" in name}


def test_curves_come_before_other_groups_of_metrics() -> None:
    groups = [name.rpartition("/")[0] for name in (curve_name("train/mse"), "anomaly/x", "best/x")]
    assert sorted(groups) == groups
