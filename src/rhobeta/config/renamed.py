"""Names of version 0.1, so that its models and runs stay readable. CHANGELOG.md has the table."""

from collections.abc import Mapping
from typing import Any

PARAMETERS = {"topk.revive": "topk.auxk_coef", "evaluate.uses": "evaluate.tasks"}
_VALUES = {("penalty.kind", "l1_kernel"): "l1_weights"}


def current_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by dotted path, with old names and values replaced by those of today."""
    renamed = {PARAMETERS.get(path, path): value for path, value in parameters.items()}
    for (path, old), new in _VALUES.items():
        if renamed.get(path) == old:
            renamed[path] = new
    return renamed


def current_metric(name: str) -> str:
    """The name of today of a run's metric: `floor/pca_mse` is `baselines/pca_mse`."""
    name = name.replace("@", "_at_")
    return f"baselines/{name.removeprefix('floor/')}" if name.startswith("floor/") else name
