"""The versions of one name in MLflow's model registry, and which of them is @champion."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rhobeta.errors import RhobetaError
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.tracking.redaction import message_of, without_password
from rhobeta.tracking.tags import MODEL_TAG

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"
_VARIABLE = "MLFLOW_TRACKING_URI"
_NO_SUCH = "RESOURCE_DOES_NOT_EXIST"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_DESCRIPTION = (
    "Sparse autoencoders with a KL penalty. @champion moves only when `rhobeta register` finds"
    " that all rules of params.yaml's section registry are kept; the tags rhobeta.gate and"
    " rhobeta.gate_reasons of each version say what it found."
)


class Registry:
    """The versions of the model `name`."""

    def __init__(self, runs: Runs, name: str) -> None:
        """Raises `RhobetaError` where there is no store."""
        if runs.store is None:
            raise RhobetaError("There is no MLflow store, and so no registry.")
        self.name = name
        self._runs = runs
        self._uri, self._client = runs.store.uri, runs.store.client

    def champion(self) -> "ModelVersion | None":
        """The version that has the alias now.

        Raises `RhobetaError` where the store offers no registry.
        """
        model = self._model()
        if model is None or CHAMPION not in model.aliases:
            return None
        return self._client.get_model_version(self.name, str(model.aliases[CHAMPION]))

    def versions_of(self, model_sha256: str) -> "list[ModelVersion]":
        """The versions of this model, oldest first."""
        if self._model() is None:
            return []
        found = self._client.search_model_versions(f"tags.`{MODEL_TAG}` = '{model_sha256}'")
        mine = [version for version in found if version.name == self.name]
        return sorted(mine, key=lambda version: int(version.version))

    def add(
        self, *, model_id: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> "ModelVersion":
        """Add the packaged model of a run as a version."""
        from mlflow.exceptions import MlflowException

        if self._model() is None:
            with self._explained():
                try:
                    self._client.create_registered_model(self.name, description=_DESCRIPTION)
                except MlflowException as error:
                    # Another process may have created it meanwhile.
                    if error.error_code != _EXISTS:
                        raise
        with _current_store(self._uri):
            return self._client.create_model_version(
                self.name,
                f"models:/{model_id}",
                run_id=run_id,
                tags=dict(tags),
                description=description,
                model_id=model_id,
            )

    def run_of(self, version: "ModelVersion") -> RunInfo | None:
        """The run of a version; None where the store does not have it."""
        return self._runs.get(str(version.run_id), deleted=True)

    def remove(self, version: "ModelVersion") -> None:
        """Delete a version."""
        self._client.delete_model_version(self.name, str(version.version))

    def tag(self, version: "ModelVersion", tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(self.name, str(version.version), key, value)

    def set_champion(self, version: "ModelVersion") -> None:
        """Give the alias to this version."""
        self._client.set_registered_model_alias(self.name, CHAMPION, str(version.version))

    def _model(self) -> "RegisteredModel | None":
        from mlflow.exceptions import MlflowException

        with self._explained():
            try:
                return self._client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != _NO_SUCH:
                    raise
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            place = without_password(os.environ.get("MLFLOW_REGISTRY_URI") or self._uri)
            reason = message_of(error)[:300]
            raise RhobetaError(
                f"{place} offers no model registry that can be used: {reason}\n"
                "Nothing was registered. A registry is in every sqlite or PostgreSQL store and in"
                " MLflow servers in front of one; MLFLOW_REGISTRY_URI may name it apart from the"
                " runs."
            ) from None


@contextmanager
def _current_store(uri: str) -> Iterator[None]:
    """MLflow's registry looks a packaged model up in the current store, not in the client's."""
    import mlflow

    before = os.environ.get(_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # MLflow sets the variable too.
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before
