"""The section `registry` of `params.yaml`: what a model must be to become the champion."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from rhobeta.config.sections import Section, Text
from rhobeta.config.tuning_section import Bound, read_bound


def _nameable(name: str) -> str:
    # In models:/NAME/VERSION and models:/NAME@ALIAS these signs end the name.
    if set("/:@") & set(name) or name.strip(" .") == "":
        raise ValueError(f": found {name!r}, allowed: a name without / : and @")
    return name


class RegistryParams(Section):
    """What `rhobeta register` asks of a model; no stage depends on it."""

    name: Annotated[Text, Field(min_length=1, max_length=100), AfterValidator(_nameable)] = Field(
        description="Name of the model in MLflow's registry, without / : and @."
    )
    thresholds: Annotated[list[Text], Field(max_length=20)] = Field(
        description="What a champion must keep, such as `probe/code_accuracy >= 0.9`."
    )
    against_champion: Annotated[list[Text], Field(max_length=20)] = Field(
        description="What the difference to the present champion must keep, such as "
        "`test/fvu <= 0.01`; an empty list: the two are not compared."
    )

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
            # A threshold may be one of two that enclose a metric; a margin has one direction.
            seen = [(b.metric, b.at_most if key == "thresholds" else True) for b in bounds]
            if len(set(seen)) < len(seen):
                raise ValueError(f"{key}: found {getattr(self, key)}, which bounds a metric twice")
        return self


def _bound(text: str, key: str) -> Bound:
    bound = read_bound(text, key, such_as="probe/code_accuracy >= 0.9")
    if "/" not in bound.metric:
        raise ValueError(
            f"{key}: found the metric {bound.metric!r}, allowed: a metric of a run as MLflow names"
            " it, such as test/mse or probe/code_accuracy"
        )
    return bound
