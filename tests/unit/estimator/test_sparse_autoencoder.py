"""The estimator: scikit-learn's rules, and the same weights as the pipeline's training."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from helpers.fitting import PARAMS, fitted
from rhobeta import SparseAutoencoder
from rhobeta.data.samples import Samples
from rhobeta.training.steps import TrainingSteps

SMALL: dict[str, Any] = {"n_components": 5, "max_iter": 4, "batch_size": 32, "random_state": 0}
# The parameters of helpers.fitting by their names here.
AS_PARAMS: dict[str, Any] = {
    "n_components": 16,
    "rho": PARAMS.penalty.rho,
    "beta": PARAMS.penalty.beta,
    "max_iter": PARAMS.training.epochs,
    "batch_size": PARAMS.training.batch_size,
    "weight_decay": PARAMS.training.weight_decay,
    "random_state": PARAMS.training.seed,
}


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float64]:
    """120 rows of 12 features with a mean of 5, in three clusters."""
    draw = np.random.default_rng(0)
    centers = draw.normal(5, 2, (3, 12))
    found: NDArray[np.float64] = np.repeat(centers, 40, axis=0) + draw.normal(0, 0.3, (120, 12))
    return found


ALL_CHECKS = """
from sklearn.utils.estimator_checks import check_estimator
from rhobeta import SparseAutoencoder
for found in check_estimator(SparseAutoencoder(), on_skip=None, on_fail=None):
    print(found["check_name"], found["status"], repr(found["exception"]))
"""


@pytest.mark.slow
def test_estimator_passes_every_check_of_scikit_learn() -> None:
    # A process of its own: SciPy reads SCIPY_ARRAY_API when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", ALL_CHECKS],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) > 40
    assert {line.split()[1] for line in done.stdout.splitlines()} == {"passed"}, done.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"code_activation": "topk", "penalty": "none", "k": 3, "noise": 0.2},
        {"hidden_layer_sizes": (20,), "tied_weights": True, "pixel_loss": "bce"},
    ],
    ids=["kl", "topk", "deep"],
)
def test_weights_are_those_of_the_pipeline(digits: Samples, changes: dict[str, Any]) -> None:
    train, validation = digits.take(np.arange(0, 600, 3)), digits.take(np.arange(1, 600, 10))
    there = {
        "model__hidden_sizes": [*changes.get("hidden_layer_sizes", ()), 16],
        "model__code_activation": changes.get("code_activation", "sigmoid"),
        "model__tied_weights": changes.get("tied_weights", False),
        "penalty__kind": changes.get("penalty", "kl"),
        "topk__k": 3,
        "topk__start": 12,
        "training__noise": changes.get("noise", 0.0),
        "training__pixel_loss": changes.get("pixel_loss", "mse"),
    }
    expected = fitted(train, validation, **there)
    sae = SparseAutoencoder(**AS_PARAMS, **changes)
    sae.fit(train.values.reshape(len(train.values), -1), X_val=validation.values.reshape(60, -1))
    for name, values in expected.model.state_dict().items():
        assert torch.equal(sae.model_.state_dict()[name], values), name
    assert sae.best_epoch_ == expected.best_epoch
    assert sae.history_["validation_loss"][sae.best_epoch_ - 1] == expected.best_loss


@pytest.mark.parametrize("code", ["sigmoid", "topk"])
@pytest.mark.parametrize("scale", [True, False])
def test_mapped_rows_train_the_same_weights(tmp_path: Path, code: str, scale: bool) -> None:
    """Vectors in memory and in a file, in the pipeline's training and in the estimator."""
    rows = np.random.default_rng(0).normal(3, 2, (1000, 6)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    in_file = np.load(tmp_path / "rows.npy", mmap_mode="r")
    there = {
        "model__output_activation": "auto",
        "model__code_activation": code,
        "penalty__kind": "none" if code == "topk" else "kl",
        "topk__k": 3,
        "topk__start": 12,
        "training__scale": scale,
    }
    few = Samples(rows[:100], None)
    models = [fitted(Samples(rows, None), few, **there).model]
    models.append(
        fitted(
            Samples(in_file, None), Samples(in_file[:100], None), runtime__data_memory=0, **there
        ).model
    )
    settings = {"code_activation": code, "k": 3, "scale": scale, "penalty": there["penalty__kind"]}
    for given in (rows, in_file):
        models.append(
            SparseAutoencoder(**AS_PARAMS, **settings).fit(given, X_val=few.values).model_
        )
    for model in models[1:]:
        for name, values in models[0].state_dict().items():
            assert torch.equal(model.state_dict()[name], values), name


def test_mapped_rows_with_nan_are_refused(tmp_path: Path) -> None:
    rows = np.zeros((10, 3), np.float32)
    rows[7, 1] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match="contains NaN"):
        SparseAutoencoder(**SMALL).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))


def test_bytes_and_fractions_train_the_same_weights(digits: Samples) -> None:
    images = digits.values[:64].reshape(64, -1)
    first = SparseAutoencoder(**SMALL).fit(images)
    second = SparseAutoencoder(**SMALL).fit(images / 255)
    assert torch.equal(first.model_.encoder[0].weight, second.model_.encoder[0].weight)
    assert_allclose(first.transform(images), second.transform(images / 255), atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("shift", "factor"), [(5, 1), (0, 10), (5, 0.01)])
def test_scores_do_not_change_with_the_units_of_the_data(
    rows: NDArray[np.float64], shift: float, factor: float, tied: bool
) -> None:
    base = (rows - rows.mean(0)) / rows.std()
    expected = SparseAutoencoder(**SMALL, tied_weights=tied).fit(base)
    found = SparseAutoencoder(**SMALL, tied_weights=tied).fit(base * factor + shift)
    assert found.score(base * factor + shift) == pytest.approx(expected.score(base), abs=1e-4)
    assert_allclose(found.transform(base * factor + shift), expected.transform(base), atol=1e-3)


def test_components_are_changes_of_the_reconstruction(rows: NDArray[np.float64]) -> None:
    for sizes in ((), (8,)):
        sae = SparseAutoencoder(**SMALL, hidden_layer_sizes=sizes).fit(rows)
        code = np.zeros((2, 5))
        code[1, 3] = 1
        at_rest, active = sae.inverse_transform(code)
        assert_allclose(active - at_rest, sae.components_[3], atol=1e-5)


def test_score_is_the_explained_variance(rows: NDArray[np.float64]) -> None:
    sae = SparseAutoencoder(**SMALL).fit(rows)
    error = ((rows - sae.reconstruct(rows)) ** 2).sum()
    assert sae.score(rows) == pytest.approx(1 - error / ((rows - rows.mean(0)) ** 2).sum())
    assert np.isnan(sae.score(np.repeat(rows.mean(0)[None], 3, axis=0)))


def test_estimator_works_in_a_pipeline_and_a_grid_search(rows: NDArray[np.float64]) -> None:
    labels = np.repeat(np.arange(3), 40)
    model = make_pipeline(SparseAutoencoder(**SMALL), LogisticRegression())
    grid = {"sparseautoencoder__rho": [0.1, 0.3]}
    search = GridSearchCV(model, grid, cv=2).fit(rows, labels)
    assert search.best_score_ > 0.9
    by_score = GridSearchCV(SparseAutoencoder(**SMALL), {"beta": [0, 100]}, cv=2).fit(rows)
    assert by_score.best_params_ == {"beta": 0}


def test_estimator_is_pickled_and_cloned(rows: NDArray[np.float64], tmp_path: Path) -> None:
    sae = SparseAutoencoder(**SMALL).fit(rows)
    joblib.dump(sae, tmp_path / "sae.joblib")
    again = joblib.load(tmp_path / "sae.joblib")
    assert np.array_equal(again.transform(rows), sae.transform(rows))
    assert np.array_equal(clone(sae).fit(rows).transform(rows), sae.transform(rows))


def test_pandas_output_and_history_have_names(rows: NDArray[np.float64]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=[f"x{i}" for i in range(12)])
    sae = SparseAutoencoder(**SMALL).set_output(transform="pandas").fit(frame)
    assert list(sae.transform(frame).columns) == [f"sparseautoencoder{i}" for i in range(5)]
    assert list(sae.feature_names_in_) == list(frame.columns)
    history = pandas.DataFrame(sae.history_)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["train_mse"].is_monotonic_decreasing


def test_interrupt_keeps_the_weights_and_warns(
    rows: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = TrainingSteps.take

    def take(steps: TrainingSteps, *arguments: Any) -> None:
        if len(steps.history) == 2:
            raise KeyboardInterrupt
        taken(steps, *arguments)

    monkeypatch.setattr(TrainingSteps, "take", take)
    with pytest.warns(ConvergenceWarning, match="after 2 of 4 epochs"):
        sae = SparseAutoencoder(**SMALL).fit(rows)
    assert sae.n_iter_ == 2
    assert len(sae.history_["train_loss"]) == 2
    assert sae.transform(rows).shape == (120, 5)


def test_progress_is_shown_where_it_is_asked_for(
    rows: NDArray[np.float64], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    SparseAutoencoder(**SMALL).fit(rows)
    assert capsys.readouterr() == ("", "")
    SparseAutoencoder(**SMALL, verbose=True).fit(rows)
    assert len(capsys.readouterr().out.splitlines()) == 4
    # Without tqdm, which the estimator does not need.
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    SparseAutoencoder(**SMALL, verbose=True).fit(rows)
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": 1.0}, "rho"),
        ({"n_components": 0}, "n_components"),
        ({"beta": "auto"}, "beta: found 'auto' without a target"),
        ({"target_above": 0.1}, "target_above: found 0.1 without a target"),
        ({"target": 0.2, "penalty": "none"}, "target: found 0.2, but penalty.kind none does not"),
        ({"target": 1.5}, "target"),
        ({"target": 0.2, "max_iter": 1}, "found a target with max_iter 1"),
        ({"penalty": "k1"}, "penalty: found 'k1', allowed: kl"),
        ({"code_activation": "relu"}, "its KL needs a mean activation"),
        ({"code_activation": "topk", "penalty": "none", "k": 6}, "k at most k_start"),
        ({"output_activation": "sigmoid", "center": True}, "center: found true"),
        (
            {"pixel_loss": "bce"},
            "pixel_loss: found bce with an identity output, since the training rows lie",
        ),
        ({"accelerator": "gpu"}, "accelerator: found 'gpu'"),
    ],
)
def test_unusable_parameters_are_refused(
    rows: NDArray[np.float64], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SparseAutoencoder(**(SMALL | changes)).fit(rows)


def test_a_missed_target_is_a_warning(rows: NDArray[np.float64]) -> None:
    with pytest.warns(ConvergenceWarning, match=r"The target 0\.9 was not reached"):
        found = SparseAutoencoder(**(SMALL | {"target": 0.9, "beta": "auto"})).fit(rows)
    assert found.description_.sparsity["train/rho_hat_mean"] == pytest.approx(
        found.transform(rows).mean(), rel=1e-5
    )
    assert len(found.history_["beta"]) == found.n_iter_


def test_validation_rows_of_another_width_are_refused(rows: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="X_val has 11 features, but X has 12"):
        SparseAutoencoder(**SMALL).fit(rows, X_val=rows[:, 1:])


def test_data_without_variance_trains(rows: NDArray[np.float64]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae = SparseAutoencoder(**SMALL).fit(np.full((10, 3), 7.0))
    assert np.isfinite(sae.reconstruct(np.full((2, 3), 7.0))).all()


def test_encode_takes_any_type_and_shape(digits: Samples) -> None:
    images = digits.values[:40]
    rows = images.reshape(40, -1)
    sae = SparseAutoencoder(**SMALL).fit(rows)
    expected = sae.transform(rows)
    for given in (
        images,
        images / 255,
        (images / 255).astype(np.float16),
        rows.astype(">f4") / 255,
    ):
        assert_allclose(sae.encode(given), expected, atol=1e-3)
    # torch itself takes no negative strides, and numpy no bfloat16.
    assert_allclose(sae.transform(rows[::-1]), expected[::-1], atol=1e-6)
    half = torch.from_numpy(images / 255).bfloat16()
    assert_allclose(sae.encode(half).numpy(), expected, atol=1e-2)
    assert sae.encode(images[0]).shape == (1, 5)
    found = sae.reconstruct(torch.from_numpy(images))
    assert isinstance(found, torch.Tensor)
    assert found.shape == (40, 28, 28)
    assert_allclose(found.reshape(40, -1).numpy(), sae.decode(expected), atol=1e-6)
    assert sae.encode(images / 255).dtype == np.float64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 783)), r"shape \(2, 783\); expected \(n, 784\)"),
        (np.full((2, 784), np.nan), "NaN or infinity"),
        (np.full((2, 784), "a"), "found values of type"),
        (np.zeros(()), "expected"),
    ],
)
def test_encode_refuses_what_is_no_row(digits: Samples, given: NDArray[Any], message: str) -> None:
    sae = SparseAutoencoder(**SMALL).fit(digits.values[:40].reshape(40, -1))
    with pytest.raises(ValueError, match=message):
        sae.encode(given)
