"""The section `registry` of `params.yaml`: what a model must be to become the champion."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from rhobeta.config.bounds import Bound
from rhobeta.config.renamed import current_metric
from rhobeta.config.sections import ParamSection, Text


def _nameable(name: str) -> str:
    # In models:/NAME/VERSION and models:/NAME@ALIAS these signs end the name.
    if set("/:@") & set(name) or name.strip(" .") == "":
        raise ValueError(f": found {name!r}, allowed: a name without / : and @")
    return name


class RegistryParams(ParamSection):
    """What `rhobeta register` asks of a model; no stage depends on it."""

    name: Annotated[Text, Field(min_length=1, max_length=100), AfterValidator(_nameable)]
    """Name of the model in the registry, 1 to 100 characters, without / : and @."""
    thresholds: Annotated[list[Text], Field(max_length=20)]
    """0 to 20 of METRIC <= NUMBER or METRIC >= NUMBER that a champion must keep."""
    against_champion: Annotated[list[Text], Field(max_length=20)]
    """0 to 20 bounds of (metric - the champion's): <= where less is better, >= where more is; all
    must hold, one metric must be better; []: not compared."""

    @property
    def bounds(self) -> list[Bound]:
        """The thresholds."""
        return [_bound(text, "thresholds") for text in self.thresholds]

    @property
    def margins(self) -> list[Bound]:
        """Bounds of a metric less the champion's: `<=` where less of it is better."""
        return [_bound(text, "against_champion") for text in self.against_champion]

    @model_validator(mode="after")
    def _bounds_are_readable(self) -> Self:
        for key, bounds in (("thresholds", self.bounds), ("against_champion", self.margins)):
            # Two thresholds may enclose a metric; a margin has one direction.
            seen = [(b.metric, b.at_most if key == "thresholds" else True) for b in bounds]
            if len(set(seen)) < len(seen):
                raise ValueError(f"{key}: found {getattr(self, key)}, which bounds a metric twice")
        return self


def _bound(text: str, key: str) -> Bound:
    bound = Bound.parse(text, key)
    if (current := current_metric(bound.metric)) != bound.metric:
        raise ValueError(f"{key}: found {bound.metric}, which is {current} since version 0.2")
    if "/" not in bound.metric:
        raise ValueError(
            f"{key}: found the metric {bound.metric!r}, allowed: a metric of a run as MLflow names"
            " it, such as test/mse or test/probe"
        )
    return bound
