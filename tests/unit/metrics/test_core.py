"""The core metrics: what data without labels and vectors have, and what no scale changes."""

import numpy as np
import pytest
import torch

from helpers import shipped_values
from rhobeta.config.sections import EvaluateParams
from rhobeta.metrics.core import Metrics, core_metrics, headline, sparsity_statistics
from rhobeta.metrics.data_baselines import DataBaselines
from rhobeta.metrics.downstream.tasks import EvaluationData
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.probe import Labels, Representation
from rhobeta.model.autoencoder import Architecture, Autoencoder

SETTINGS = EvaluateParams(**shipped_values()["evaluate"] | {"tasks": []})


def measured(
    shape: tuple[int, ...], labels: Labels | None, *, scale: float = 1, shift: float = 0
) -> Metrics:
    """Of a random model on random rows; both are scaled by `scale` and moved by `shift`."""
    features = int(np.prod(shape))
    random = np.random.default_rng(0)
    rows = tuple(random.random((count, features)).astype(np.float32) for count in (60, 20, 30))
    model = Autoencoder(Architecture(shape, (3,), "sigmoid", "relu", "identity"), seed=1)
    with torch.no_grad():
        first, last = model.encoder[0], model.decoder[0]
        first.bias -= shift / scale * first.weight.sum(1)
        first.weight /= scale
        last.weight *= scale
        last.bias.mul_(scale).add_(shift)
    moved = Representation(*((scale * part + shift).astype(np.float32) for part in rows))
    baselines = DataBaselines.of_splits(moved, labels, shape, SETTINGS, data_sha256="ab" * 32)
    encoded = encode_images(model, moved.test)
    data = EvaluationData.prepare(model, moved, labels, encoded.code, baselines, probe_k=None)
    return core_metrics(data, encoded, sparsity_statistics(encoded, SETTINGS), SETTINGS, rho=0.1)


def test_vectors_without_labels_have_no_probe_psnr_or_clipped_pca() -> None:
    metrics = measured((4,), None)
    assert [name for name in ("probe", "psnr_db") if name in metrics["test"]] == []
    names = ["mean_image_mse", "pca_mse", "pca_active_mse", "pca_active_components"]
    assert list(metrics["baselines"]) == names
    assert list(metrics["beats_baseline"]) == ["mean_image", "pca", "pca_active"]
    assert list(headline(metrics)) == ["test/mse", "test/fvu", "test/l0_at_0.1"]


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)], ids=len)
def test_images_with_labels_have_all_of_them(shape: tuple[int, ...]) -> None:
    labels = Labels(*(np.arange(count, dtype=np.uint8) % 2 for count in (60, 20, 30)))
    metrics = measured(shape, labels)
    assert {"probe", "psnr_db"} <= metrics["test"].keys()
    probes = {"pixel_probe", "pca_probe", "random_probe"}
    assert {"pca_clipped_mse", *probes} <= metrics["baselines"].keys()
    assert list(headline(metrics))[-1] == "test/probe"


@pytest.mark.parametrize(("scale", "shift"), [(1, 5), (10, 0), (10, 500), (0.001, 0)])
def test_fvu_of_vectors_does_not_change_with_scale_and_mean(scale: float, shift: float) -> None:
    plain, moved = measured((4,), None), measured((4,), None, scale=scale, shift=shift)
    assert moved["test"]["fvu"] == pytest.approx(plain["test"]["fvu"], rel=1e-3)
    for name in ("mean_image_mse", "pca_mse", "pca_active_mse"):
        expected = scale**2 * plain["baselines"][name]
        assert moved["baselines"][name] == pytest.approx(expected, rel=1e-3)
    assert moved["beats_baseline"] == plain["beats_baseline"]
