"""How `evaluate` hands its parameters to the scores of uses, and what it refuses beforehand."""

from rhobeta.config.params import fault_of_normal_classes
from rhobeta.config.sections import EvaluateParams
from rhobeta.data.splits import Manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.tasks import TaskSettings


def task_settings(params: EvaluateParams, manifest: Manifest) -> TaskSettings:
    """The parameters that the uses take.

    Numbers of labels that the smallest class does not have are left out, perhaps all, and that is
    said: the defaults are for data sets of tens of thousands of images.
    """
    most = min(manifest.splits["train"]["per_class"].values())
    few_labels = [count for count in params.few_labels if count <= most]
    if "few_labels" in params.tasks and len(few_labels) < len(params.few_labels):
        left_out = ", ".join(str(count) for count in params.few_labels if count > most)
        print(f"note: the smallest class has {most} images; few_labels {left_out} is not scored")
    return TaskSettings(
        sparse_probe_units=params.sparse_probe_units,
        few_labels=few_labels,
        noise=params.noise,
        normal_classes=params.normal_classes,
        seed=params.seed,
        probe_penalty=params.probe_penalty,
        probe_iterations=params.probe_iterations,
    )


def require_scorable(params: EvaluateParams, manifest: Manifest) -> None:
    """Refuse uses that the data cannot be scored on.

    Raises `RhobetaError` for normal classes that the data does not have or that are all it has,
    and where the test split holds normal images alone, or none.
    """
    fault = _fault_of_anomaly(params, manifest) if "anomaly" in params.tasks else None
    if fault is not None:
        raise RhobetaError(fault)


def _fault_of_anomaly(params: EvaluateParams, manifest: Manifest) -> str | None:
    if fault := fault_of_normal_classes(params.normal_classes, manifest.classes):
        return f"{fault}.\nChange it in params.yaml, or take anomaly out of evaluate.tasks."
    tested = {int(label) for label in manifest.splits["test"]["per_class"]}
    normal = tested & set(params.normal_classes or manifest.classes)
    if normal and len(tested) > 1 and (params.normal_classes is None or tested - normal):
        return None
    return (
        f"evaluate.normal_classes: found {params.normal_classes or 'null'}, but the test split has"
        f" only images of {', '.join(map(str, sorted(tested)))}; an anomaly score needs normal"
        " images and others there.\nBring test images, or take anomaly out of evaluate.tasks."
    )
