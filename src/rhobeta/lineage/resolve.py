"""What the user points at: a model, a run, a commit, an experiment, a trial or a study."""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.errors import RhobetaError
from rhobeta.lineage.lock import MODEL
from rhobeta.lineage.records import Record, Records
from rhobeta.lineage.repository import Experiment, Repository
from rhobeta.lineage.studies import Studies
from rhobeta.model.header import MALFORMED, described_in
from rhobeta.utils.checksum import verify_checksum
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes

if TYPE_CHECKING:
    from rhobeta.lineage.studies import Trial

KINDS = (
    "a model file or its SHA-256",
    "an MLflow run's id or name",
    "a DVC experiment",
    "a git commit",
    "a trial (STUDY/NUMBER, or `trial N`)",
    "a study",
)
"""What can be asked about, in the order in which it is tried."""

_FEWEST_DIGITS = 6
_TRIAL = re.compile(r"(?:trial[ -]?|(?P<study>.+)/)(?P<number>\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class ModelFile:
    """A model as a file holds it."""

    path: Path
    sha256: str
    md5: str
    description: dict[str, Any]
    """Its parameters, the data's digest, the epoch and the loss."""


@dataclass(frozen=True)
class End:
    """One thing that is known by a name, and that a story can begin at."""

    kind: str
    """model file, model, run, experiment, commit, trial or study."""
    name: str
    identity: str
    """Two ends of one identity are the same thing."""
    file: ModelFile | None = None
    sha256: str | None = None
    commit: str | None = None
    experiment: Experiment | None = None
    records: tuple[Record, ...] = ()
    trial: "Trial | None" = None


def read_model_file(path: Path) -> ModelFile:
    """What a model file is and says. Raises `RhobetaError` where it is none, or damaged."""
    content = path.read_bytes()
    try:
        verify_checksum(content)
        description = described_in(content)
        if not isinstance(description["parameters"], dict):
            raise TypeError("its parameters are missing")
        str(description["data_sha256"]), int(description["best_epoch"])
    except (RhobetaError, *MALFORMED) as error:
        raise RhobetaError(
            f"{path} is not a model of rhobeta, or is damaged ({error}).\n"
            "Expected such as models/autoencoder.safetensors, which `rhobeta train` writes."
        ) from None
    return ModelFile(path, sha256_of_bytes(content), md5_of_bytes(content), description)


class Finder:
    """Finds what a name stands for, among all that the project knows."""

    def __init__(
        self, records: Records, repository: Repository, studies: Studies, study: str
    ) -> None:
        """`study` is the one that `trial N` is of: that of params.yaml."""
        self._records = records
        self._repository = repository
        self._studies = studies
        self._study = study

    def find(self, what: str) -> End:
        """The one thing that `what` names.

        Raises `RhobetaError` where nothing has that name, with the nearest that is known, and
        where several things have it.
        """
        if _is_file(what):
            file = read_model_file(Path(what))
            return End("model file", what, file.sha256, file=file, sha256=file.sha256)
        found = {end.identity: end for search in self._searches() for end in search(what)}
        if not found:
            raise RhobetaError(self._unknown(what))
        if len(found) > 1:
            lines = [f"  {end.kind} {end.name}" for end in found.values()]
            raise RhobetaError(
                f"{what!r} stands for {len(found)} things:\n" + "\n".join(lines[:20]) + "\n"
                "Give one of these in full, or more of its digits; refs/heads/NAME is a branch."
            )
        return next(iter(found.values()))

    def _searches(self) -> tuple[Callable[[str], Iterator[End]], ...]:
        return (
            self._models,
            self._runs,
            self._experiments,
            self._commits,
            self._trials,
            self._studies_named,
        )

    def _models(self, what: str) -> Iterator[End]:
        if _is_digits(what, 64):
            for sha256 in {record.model_sha256 for record in self._starting(what)}:
                if sha256 is not None:
                    yield End("model", sha256, sha256, sha256=sha256)

    def _starting(self, what: str) -> list[Record]:
        if len(what) == 64:
            return self._records.of_model(what)
        return self._records.of_model_starting(what)

    def _runs(self, what: str) -> Iterator[End]:
        if _is_digits(what, 32):
            for record in self._records.starting(what):
                yield _run_end(record)
        # Names say what differs, so two trainings of the same parameters share one.
        named = self._records.named(what)
        alone = {record.model_sha256 or record.id: record for record in reversed(named)}
        for record in alone.values():
            yield _run_end(record)

    def _experiments(self, what: str) -> Iterator[End]:
        held = [found for found in self._repository.experiments if found.name == what]
        for experiment in held:
            yield End(
                "experiment",
                f"{what} ({experiment.commit[:12]})",
                experiment.commit,
                commit=experiment.commit,
                experiment=experiment,
            )
        if not held and (records := self._records.of_dvc_experiment(what)):
            # Removed from git; the store remembers its runs.
            yield End("experiment", what, f"experiment {what}", records=tuple(records))

    def _commits(self, what: str) -> Iterator[End]:
        commit = self._repository.commit(what)
        if commit is None:
            return
        known = [found for found in self._repository.experiments if found.commit == commit]
        yield End(
            "experiment" if known else "commit",
            f"{known[0].name} ({commit[:12]})" if known else commit,
            commit,
            commit=commit,
            experiment=known[0] if known else None,
        )

    def _trials(self, what: str) -> Iterator[End]:
        match = _TRIAL.fullmatch(what)
        if match is None:
            return
        study, number = match["study"] or self._study, int(match["number"])
        records = self._records.of_trial(study, number)
        for record in records:
            yield _run_end(record)
        if not records and (trial := self._studies.trial(study, number)) is not None:
            yield End("trial", f"{study}/{number}", f"trial {study}/{number}", trial=trial)

    def _studies_named(self, what: str) -> Iterator[End]:
        for record in self._records.of_study(what):
            yield _run_end(record)

    def _unknown(self, what: str) -> str:
        newest = self._records.newest()
        known = [name for record in newest for name in (record.name, record.id)]
        known += [f"{r.trial[0]}/{r.trial[1]}" for r in newest if r.trial is not None]
        known += [record.study for record in newest if record.study]
        known += [experiment.name for experiment in self._repository.experiments]
        known += self._repository.names
        known += [MODEL] if _is_file(MODEL) else []
        near = difflib.get_close_matches(what, dict.fromkeys(known), n=1)
        # A name's beginning says what a run is, however much stands behind it.
        near = near or [name for name in known if what and name.startswith(what)][:1]
        meant = f" Did you mean {near[0]!r}?" if near else ""
        missing = "" if self._records.has_store else "\nThere is no MLflow store, and so no run."
        if Path(what).suffix == Path(MODEL).suffix:
            missing += "\nThere is no such file: `dvc checkout` or `dvc pull` brings the model."
        return (
            f"nothing is known by the name {what!r}.{meant}{missing}\n"
            f"Tried: {'; '.join(KINDS)}.\n"
            "`dvc exp list --all-commits` lists experiments, `make ui` shows runs and their ids."
        )


def _run_end(record: Record) -> End:
    kind = {"trial": "trial", "tune": "study"}.get(record.stage, "run")
    name = f"{record.id} ({record.name})"
    return End(kind, name, record.id, records=(record,), sha256=record.model_sha256)


def _is_file(what: str) -> bool:
    try:
        return Path(what).is_file()
    except OSError:
        # Such as a name that is longer than any file's.
        return False


def _is_digits(what: str, most: int) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{_FEWEST_DIGITS},{most}}}", what) is not None
