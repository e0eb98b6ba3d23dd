"""The experiment's page in MLflow's UI, as far as tags give it."""

import json

from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
from rhobeta.tracking.tags import NOTE_TAG
from rhobeta.tracking.view import VIEW_TAG, view_link


def test_an_experiment_is_given_a_description_and_a_view_that_its_links_name(paths: Paths) -> None:
    store = open_store(paths, "rhobeta")
    tags = store.client.get_experiment(store.experiment_id).tags
    link = view_link(store.experiment_id)
    assert link.partition("viewStateShareKey=")[2] == VIEW_TAG.rpartition(".")[2]
    assert f"]({link})" in tags[NOTE_TAG]
    assert f"]({view_link(store.experiment_id, charts=True)})" in tags[NOTE_TAG]
    view = json.loads(tags[VIEW_TAG])
    sections = [section["name"] for section in view["compareRunSections"]]
    assert sections.index("validation") < sections.index("best")
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == {sections[0]}


def test_the_user_s_description_stays_and_an_older_view_is_renewed(paths: Paths) -> None:
    store = open_store(paths, "rhobeta")
    client, number = store.client, store.experiment_id
    view = client.get_experiment(number).tags[VIEW_TAG]
    client.set_experiment_tag(number, NOTE_TAG, "mine")
    client.set_experiment_tag(number, VIEW_TAG, "{}")
    open_store(paths, "rhobeta")
    tags = client.get_experiment(number).tags
    assert tags[NOTE_TAG] == "mine"
    assert tags[VIEW_TAG] == view
