"""Names of earlier versions."""

from rhobeta.config.renamed import current_metric, current_parameters


def test_parameters_of_old_names_and_values() -> None:
    old = {"topk.revive": 0.5, "penalty.kind": "l1_kernel", "penalty.rho": 0.1}
    new = {"topk.auxk_coef": 0.5, "penalty.kind": "l1_weights", "penalty.rho": 0.1}
    assert current_parameters(old) == new
    assert current_parameters(new) == new


def test_metric_of_old_name() -> None:
    assert current_metric("floor/pca_mse") == "baselines/pca_mse"
    assert current_metric("l0@0.1") == "l0_at_0.1"
    assert current_metric("test/mse") == "test/mse"
