"""`params.yaml` as frozen, validated objects.

The whole file is checked before any stage runs: types, ranges, unknown keys, and combinations that
make no sense. One message names every fault. The file is parsed as DVC parses it (YAML 1.2), so
`1e-3` is a number for both.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from rhobeta.config.messages import describe_faults, yaml_fault
from rhobeta.config.registration import RegistryParams
from rhobeta.config.search import NEED_RHO, TuneParams
from rhobeta.config.sections import (
    DataParams,
    EvaluateParams,
    ModelParams,
    ParamSection,
    PenaltyParams,
    RuntimeParams,
    TopKParams,
    TrainingParams,
    VisualizeParams,
)
from rhobeta.errors import RhobetaError
from rhobeta.extensions import (
    ACTIVATION_SPECS,
    PENALTY_SPECS,
    incompatibility,
    load_extensions,
    no_target,
)
from rhobeta.utils.cpu import obey_cpu_parameter

# The labels of the data sets that are known by name.
NAMED_CLASSES = list(range(10))

_LONGEST_FILE = 1 << 18
_DEEPEST = 16


class Params(ParamSection):
    """All of `params.yaml`."""

    data: DataParams
    model: ModelParams
    penalty: PenaltyParams
    topk: TopKParams
    training: TrainingParams
    evaluate: EvaluateParams
    visualize: VisualizeParams
    runtime: RuntimeParams
    tune: TuneParams
    registry: RegistryParams

    @model_validator(mode="after")
    def _penalty_fits_code(self) -> Self:
        reason = incompatibility(self.penalty.kind, self.model.code_activation)
        if reason is not None:
            raise ValueError(
                f"penalty.kind: found {self.penalty.kind} with model.code_activation"
                f" {self.model.code_activation}: {reason}"
            )
        return self

    @model_validator(mode="after")
    def _target_makes_sense(self) -> Self:
        penalty, units = self.penalty, self.model.hidden_sizes[-1]
        if penalty.target is None:
            lonely = {
                "beta": penalty.beta == "auto",
                "target_above": penalty.target_above is not None,
            }
            for name in (name for name, given in lonely.items() if given):
                raise ValueError(
                    f"penalty.{name}: found {getattr(penalty, name)} without penalty.target, which"
                    " it belongs to"
                )
            return self
        found = f"penalty.target: found {penalty.target:g}"
        if (reason := no_target(penalty.kind, self.model.code_activation)) is not None:
            raise ValueError(f"{found}, but {reason}")
        if penalty.target >= (1 if penalty.target_above is None else units):
            raise ValueError(
                f"{found}, allowed: a mean activation below 1, or with penalty.target_above an L0"
                f" below the {units} units of the code"
            )
        if self.training.epochs == 1:
            raise ValueError(
                f"{found} with training.epochs 1, allowed: 2 or more, since beta is adjusted from"
                " the second epoch on"
            )
        return self

    @model_validator(mode="after")
    def _k_fits_code(self) -> Self:
        units = self.model.hidden_sizes[-1]
        if not ACTIVATION_SPECS[self.model.code_activation].takes_k:
            return self
        if not self.topk.k <= self.topk.start <= units:
            raise ValueError(
                f"topk: found k {self.topk.k} and start {self.topk.start} with {units} units in the"
                " code, allowed: k at most start, start at most the units"
            )
        if self.evaluate.probe_k is not None and self.evaluate.probe_k > units:
            raise ValueError(
                f"evaluate.probe_k: found {self.evaluate.probe_k} with {units} units in the code,"
                f" allowed: at most {units}"
            )
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        if self.training.pixel_loss == "bce" and self.model.output_activation == "identity":
            raise ValueError(
                f"training.pixel_loss: found bce with model.output_activation"
                f" {self.model.output_activation}, allowed: sigmoid, whose outputs are in (0, 1)"
            )
        for name in ("center", "scale"):
            if getattr(self.training, name) is True and self.model.output_activation == "sigmoid":
                raise ValueError(
                    f"training.{name}: found true with model.output_activation sigmoid, whose"
                    " outputs are in (0, 1), allowed: false, or model.output_activation identity"
                )
        if self.data.validation_fraction == 0 and self.training.keep == "best":
            raise ValueError(
                "training.keep: found best with data.validation_fraction 0, allowed: last, since"
                " the best epoch is that of the lowest validation loss"
            )
        return self

    @model_validator(mode="after")
    def _some_classes_are_anomalies(self) -> Self:
        given = self.data.classes or ([] if self.data.name == "own" else NAMED_CLASSES)
        known = [label for label in given if isinstance(label, int)]
        # The labels of names are known when own data is read.
        if "anomaly" in self.evaluate.tasks and known and len(known) == len(given):
            check_normal_classes(self.evaluate.normal_classes, known)
        return self

    @model_validator(mode="after")
    def _metrics_have_their_rho(self) -> Self:
        kinds = self.tune.space.get("penalty.kind", {}).get("choices", [self.penalty.kind])
        without = [f"kind {kind}" for kind in kinds if not PENALTY_SPECS[kind].uses_rho]
        if self.penalty.target is not None or "penalty.target" in self.tune.space:
            without.append("target")
        for name in set(self.tune.metrics) & set(NEED_RHO) if without else ():
            raise ValueError(
                f"tune: found the metric {name} with penalty.{without[0]}, which has no rho"
            )
        return self


def check_normal_classes(normal: list[int] | None, classes: list[int]) -> None:
    """Raise `ValueError` where `evaluate.normal_classes` does not fit data of these `classes`."""
    if normal is None:
        return
    found = f"evaluate.normal_classes: found {normal}"
    allowed = f"allowed: some of {', '.join(map(str, sorted(classes)))}, not all, or null"
    if unknown := sorted(set(normal) - set(classes)):
        lacking = ", ".join(map(str, unknown))
        raise ValueError(f"{found}, but the data has no class {lacking}; {allowed}")
    if set(normal) == set(classes):
        raise ValueError(f"{found}, all classes of the data, so none is an anomaly; {allowed}")


def load_params(path: Path) -> Params:
    """Read and check the parameter file, with the names of the extensions beside it.

    Raises `RhobetaError` that names every fault: the key's full path, what was found, what is
    allowed, and for an unknown key the nearest known one.
    """
    values = read_yaml(path)
    # Before extensions load PyTorch.
    obey_cpu_parameter(values)
    load_extensions(path.parent / "extensions")
    return check_params(values, where=path.name)


def check_params(values: Any, *, where: str) -> Params:
    """Validate nested plain `values` from `where`, a name for the message of `RhobetaError`."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = "\n".join(f"  {line}" for line in describe_faults(error, Params, values))
        raise RhobetaError(f"{where} is refused:\n{faults}") from None


def merged(now: Mapping[str, Mapping[str, Any]], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with some set, by dotted path.

    >>> merged({"penalty": {"rho": 0.1, "beta": 1}}, {"penalty.rho": 0.2})
    {'penalty': {'rho': 0.2, 'beta': 1}}
    """
    nested = {section: dict(values) for section, values in now.items()}
    for path, value in overlay.items():
        section, _, key = path.partition(".")
        nested.setdefault(section, {})[key] = value
    return nested


def with_values(
    params: Params, values: Mapping[str, Any], *, where: str = "the changed parameters"
) -> Params:
    """The parameters with some set, by dotted path.

    Raises `RhobetaError`, whose message begins with `where`, if they do not fit together.
    """
    now = {name: getattr(params, name).model_dump() for name in type(params).model_fields}
    return check_params(merged(now, values), where=where)


def read_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Values by dotted path from texts such as `penalty.rho=0.1`; each value is YAML.

    Raises `RhobetaError` where a text has another form.

    >>> read_settings(["training.epochs=5", "model.hidden_sizes=[64, 32]"])
    {'training.epochs': 5, 'model.hidden_sizes': [64, 32]}
    """
    values: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not (equals and "." in path):
            raise RhobetaError(f"Found {setting!r}, expected PATH=VALUE, such as penalty.rho=0.1.")
        values[path] = _parse(text, f"the value of {path}")
    return values


def flatten(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Leaf values by dotted path, such as `{"penalty.rho": 0.05}`, in the order of the file."""
    leaves: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        path = f"{prefix}{name}"
        leaves |= flatten(value, f"{path}.") if isinstance(value, BaseModel) else {path: value}
    return leaves


def read_yaml(path: Path) -> Any:
    """The values of a YAML 1.2 file, unchecked.

    Raises `RhobetaError` where it cannot be read, is larger than 256 KiB, nests deeper than 16, or
    refers to an anchor, since a few lines of references can expand to gigabytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except FileNotFoundError:
        raise RhobetaError(
            f"{path} is missing.\n`git checkout -- {path.name}` brings the default back."
        ) from None
    except OSError as error:
        raise RhobetaError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > _LONGEST_FILE:
        raise RhobetaError(f"{path} is larger than {_LONGEST_FILE >> 10} KiB.")
    return _parse(content, str(path))


def _parse(content: bytes | str, name: str) -> Any:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RhobetaError(f"{name} is not valid YAML:\n{error}\nSave it as UTF-8.") from None
    try:
        _require_plain(text, name)
        return YAML(typ="safe").load(text)
    except RhobetaError:
        raise
    except Exception as error:
        # Tags raise errors of many types: `!!int ""`, `!!bool x`, "\\UFFFFFFFF".
        raise RhobetaError(f"{name} is not valid YAML:\n{yaml_fault(error, text)}") from None


def _require_plain(text: str, name: str) -> None:
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise RhobetaError(f"{name} nests deeper than {_DEEPEST}.")
        if isinstance(event, AliasEvent):
            raise RhobetaError(
                f"{name} refers to *{event.anchor}.\nWrite the value itself in its place."
            )
