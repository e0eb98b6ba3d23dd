"""Metrics of the downstream tasks as evaluate writes them, with numbers as on MNIST."""

from typing import Any

_AUROC = (
    *(0.991, 0.998, 0.975, 0.981, 0.985, 0.979, 0.995, 0.983, 0.972, 0.951),
    *(0.973, 0.997, 0.871, 0.912, 0.944, 0.899, 0.975, 0.960, 0.874, 0.955),
)

TASK_METRICS: dict[str, dict[str, Any]] = {
    "sparse_probe": {
        "code_at_1": 0.5512,
        "code_at_2": 0.7034,
        "code_at_10": 0.8946,
        "pca_at_1": 0.4411,
        "pca_at_2": 0.7120,
        "pca_at_10": 0.8643,
        "pixels_at_1": 0.3602,
        "pixels_at_2": 0.5014,
        "pixels_at_10": 0.7811,
    },
    "few_labels": {
        "code_at_10": 0.7712,
        "code_at_100": 0.8890,
        "code_at_1000": 0.9231,
        "pca_at_10": 0.7391,
        "pca_at_100": 0.8702,
        "pca_at_1000": 0.9066,
        "pixels_at_10": 0.7304,
        "pixels_at_100": 0.8890,
        "pixels_at_1000": 0.9320,
    },
    "denoising": {
        "code_at_0.1": 18.02,
        "code_at_0.3": 16.31,
        "code_at_0.5": 14.92,
        "wiener_at_0.1": 22.91,
        "wiener_at_0.3": 17.14,
        "wiener_at_0.5": 14.83,
        "noisy_at_0.1": 20.41,
        "noisy_at_0.3": 12.2,
        "noisy_at_0.5": 9.31,
    },
    "anomaly": {
        "code_auroc": 0.981,
        "pca_auroc": 0.936,
        **{f"code_auroc_at_{label}": value for label, value in enumerate(_AUROC[:10])},
        **{f"pca_auroc_at_{label}": value for label, value in enumerate(_AUROC[10:])},
    },
    "compression": {"code_bits": 106.2, "mse": 0.015455, "pca_bits": 77.4, "jpeg_bits": None},
}

# The verdicts that these numbers have.
TASK_BEATS = {
    "sparse_probe_pca": True,
    "sparse_probe_pixels": True,
    "few_labels_pixels": True,
    "few_labels_pca": True,
    "wiener": False,
    "anomaly_pca": True,
    "compression_pca": False,
    "compression_jpeg": True,
}

CURVES = """coder,bits,mse
code,0,0.0799
code,10.5,0.0469
code,106.2,0.015455
code,249.9,0.01519
pca,0.0385,0.0644
pca,83.3,0.0144
pca,361.2,0.0082
jpeg,305.9,0.0129
jpeg,3469,0.0000214
"""


CORE_METRICS: dict[str, dict[str, Any]] = {
    "test": {
        "mse": 0.0123456,
        "fvu": 0.18349,
        "psnr_db": 18.24,
        "rho_target": 0.05,
        "rho_hat_mean": 0.05123,
        "rho_hat_min": 0.00123,
        "rho_hat_max": 0.25678,
        "rho_hat_distance": 0.01,
        "l0_at_0.1": 7.249,
        "l0_at_0.5": 1.5,
        "gini": 0.8126,
        "hoyer": 0.7034,
        "treves_rolls": 0.1357,
        "dead_units": 11,
        "constant_units": 12,
        "saturated_units": 13,
        "rare_units": 14,
        "probe": 0.9316,
    },
    "baselines": {
        "mean_image_mse": 0.0671,
        "pca_mse": 0.01112,
        "pca_clipped_mse": 0.01023,
        "pca_active_mse": 0.04123,
        "pca_active_components": 7,
        "pixel_probe": 0.9233,
        "pca_probe": 0.9048,
    },
    "beats_baseline": {
        "mean_image": True,
        "pca": False,
        "pca_clipped": False,
        "pca_active": True,
        "pixel_probe": True,
        "pca_probe": True,
    },
}


def with_tasks(*tasks: str) -> dict[str, dict[str, Any]]:
    """Core metrics with the sections of some tasks (all, if none is named), and their verdicts."""
    return {
        **CORE_METRICS,
        **{task: TASK_METRICS[task] for task in tasks or TASK_METRICS},
        "beats_baseline": CORE_METRICS["beats_baseline"] | TASK_BEATS,
    }


VECTOR_METRICS: dict[str, dict[str, Any]] = {
    "test": {
        name: value
        for name, value in CORE_METRICS["test"].items()
        if name not in ("psnr_db", "probe", "rho_target", "rho_hat_distance")
    }
    | {"mse": 12.5, "fvu": 0.25},
    "baselines": {
        "mean_image_mse": 50.0,
        "pca_mse": 10.0,
        "pca_active_mse": 20.0,
        "pca_active_components": 3,
    },
    "compression": {"code_bits": 26.4, "mse": 13.125, "pca_bits": 16.2},
    "beats_baseline": {
        "mean_image": True,
        "pca": False,
        "pca_active": True,
        "compression_pca": False,
    },
}
"""Of vectors without labels, as evaluate writes them."""
