"""Trials as Optuna's database knows them, where MLflow has no run of them. Read, never changed."""

from dataclasses import dataclass
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.store import without_password
from rhobeta.tuning.storage import quieten, sqlite_file, storage_url


@dataclass(frozen=True)
class Trial:
    """One trial of a study."""

    study: str
    number: int
    state: str
    values: dict[str, Any]
    """Its parameters by path."""
    run_id: str | None
    """The run that it was recorded in, in the store of the machine that ran it."""


class Studies:
    """The studies of a project."""

    def __init__(self, paths: Paths, asked: str | None) -> None:
        """`asked` is tune.storage."""
        self._url = storage_url(paths, asked)

    def trial(self, study: str, number: int) -> Trial | None:
        """The trial of that number; None where study or trial are unknown, or there is no database.

        Raises `RhobetaError` where the database does not answer.
        """
        file = sqlite_file(self._url)
        if file is not None and not file.is_file():
            return None
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        from rhobeta.tuning.study import RUN

        quieten()
        try:
            storage = optuna.storages.RDBStorage(self._url, skip_table_creation=True)
            number_of_study = storage.get_study_id_from_name(study)
            trials = {t.number: t for t in storage.get_all_trials(number_of_study, deepcopy=False)}
        except KeyError:
            return None
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError) as error:
            reason = without_password(" ".join(str(error).split()))[:300]
            raise RhobetaError(
                f"The studies' database {without_password(self._url)} cannot be read: {reason}"
            ) from None
        if number not in trials:
            return None
        found = trials[number]
        run_id = found.user_attrs.get(RUN)
        return Trial(study, number, found.state.name.lower(), dict(found.params), run_id)
