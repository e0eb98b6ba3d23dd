"""Names of version 0.1. Models and runs with them stay readable; CHANGELOG.md has the table."""

from collections.abc import Mapping
from typing import Any

PARAMETERS = {"topk.revive": "topk.auxk_coef", "evaluate.uses": "evaluate.tasks"}
REMOVED = {"evaluate.probe_iterations": "probes are fitted until they have converged"}
"""Parameters that are gone, and why."""
ADDED: dict[str, Any] = {
    "data.labels": True,
    "data.image_size": None,
    "data.color": None,
    "model.start": "glorot",
    "penalty.target": None,
    "penalty.target_above": None,
    "penalty.warmup": 0.0,
    "training.center": False,
    "training.scale": False,
    "training.bias_lift": 0.0,
}
"""Parameters that came later, with the value of what was done before."""
VALUES = {"l1_kernel": "l1_weights"}
"""Values of `penalty.kind`."""
_METRICS = {
    "probe/code_accuracy": "test/probe",
    "probe/pixel_accuracy": "baselines/pixel_probe",
    "probe/pca_accuracy": "baselines/pca_probe",
    "probe_accuracy": "probe",
    "floor/": "baselines/",
}
_SECTIONS = {
    "reconstruction": "test",
    "sparsity": "test",
    "floors": "baselines",
    "beats": "beats_baseline",
}


def current_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by dotted path, with old names and values replaced by the current ones.

    >>> current_parameters({"topk.revive": 0.5, "penalty.kind": "l1_kernel"})
    {'topk.auxk_coef': 0.5, 'penalty.kind': 'l1_weights'}
    """
    renamed = {PARAMETERS.get(path, path): value for path, value in parameters.items()}
    # A run of 0.1 that was evaluated again has both names; the current one counts.
    renamed |= {path: value for path, value in parameters.items() if path in renamed}
    kind = renamed.get("penalty.kind")
    if isinstance(kind, str) and kind in VALUES:
        renamed["penalty.kind"] = VALUES[kind]
    return renamed


def current_metric(name: str) -> str:
    """The current name of a run's metric, or of the metric in a bound.

    >>> current_metric("floor/pca_mse"), current_metric("test/l0@0.1")
    ('baselines/pca_mse', 'test/l0_at_0.1')
    >>> current_metric("probe/code_accuracy"), current_metric("probe_accuracy >= 0.9")
    ('test/probe', 'probe >= 0.9')
    """
    if "auroc@" in name:
        name = name.replace("+", "_")
    name = name.replace("@", "_at_")
    for old, new in _METRICS.items():
        name = name.replace(old, new)
    return name


def current_sections(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The numbers of an evaluation with the current names of sections and metrics.

    >>> current_sections({"sparsity": {"l0@0.1": 12.2}, "probe": {"pca_accuracy": 0.9}})
    {'test': {'l0_at_0.1': 12.2}, 'baselines': {'pca_probe': 0.9}}
    """
    renamed: dict[str, dict[str, Any]] = {}
    for section, values in metrics.items():
        for name, value in values.items():
            path = current_metric(f"{_SECTIONS.get(section, section)}/{name}")
            now, _, metric = path.partition("/")
            renamed.setdefault(now, {})[metric] = value
    return renamed
