"""Runs whose times and tags somebody else has written into the store."""

import pytest

from helpers import NewStore
from rhobeta.lineage.runs import Runs
from rhobeta.paths import Paths
from rhobeta.tuning.study_runs import TRIAL_TAG


@pytest.mark.parametrize(
    ("started", "trial"), [(1, "²"), (1, "9" * 5000), (10**17, "-1"), (-(10**17), "1e3")]
)
def test_times_and_numbers_that_are_none_are_read(
    paths: Paths, new_store: NewStore, started: int, trial: str
) -> None:
    store = new_store(paths)
    store.client.create_run(store.experiment_id, start_time=started, tags={TRIAL_TAG: trial})
    (run,) = Runs(store).newest()
    assert run.trial is None
    assert run.started[:4] in ("1970", "9999")


def test_run_of_a_deleted_experiment_is_read(paths: Paths, new_store: NewStore) -> None:
    store = new_store(paths)
    run = store.client.create_run(store.experiment_id).info.run_id
    store.client.delete_experiment(store.experiment_id)
    found = Runs(store).get(run, deleted=True)
    assert found is not None
    assert found.experiment == ""
