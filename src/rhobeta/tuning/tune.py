"""`rhobeta tune`: check, open the study, run its workers, repeat its front, report the results."""

from dataclasses import dataclass, replace

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEED
from rhobeta.data.splits import Manifest, read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store, open_store
from rhobeta.training.code import training_code_digest
from rhobeta.training.devices import place_among_processes
from rhobeta.tuning.choice import rule_in_words
from rhobeta.tuning.job import TuningJob
from rhobeta.tuning.show import describe_results, results_lock, write_results
from rhobeta.tuning.storage import open_storage, sqlite_file, storage_url
from rhobeta.tuning.study import (
    QUEUED,
    StudyIdentity,
    count_states,
    fingerprint_of,
    finished_trials,
    load_study,
    open_study,
    require_identity,
    require_same_search,
    seeds_study,
)
from rhobeta.tuning.study_results import StudyResults, front_table, further_seeds, read_results
from rhobeta.tuning.study_runs import end_lost_runs, parent_run, run_link
from rhobeta.tuning.workers import run_workers, workers_and_threads

_SHOWN = 5


@dataclass(frozen=True)
class TuningSession:
    """A study that is open, and what its workers need."""

    study: Study
    identity: StudyIdentity
    job: TuningJob
    storage: RDBStorage
    store: Store


def tune(
    params: Params, paths: Paths, *, trials: int | None = None, workers: int | None = None
) -> None:
    """Run the study until it has the trials asked for, and report what it has found.

    `trials` and `workers` override `tune.trials` and `tune.workers`. Raises `RhobetaError` before
    any trial where something does not fit; `KeyboardInterrupt` on Ctrl-C, with the study kept.
    """
    asked = params.tune.trials if trials is None else trials
    _require_one_device(params)
    number, threads = workers_and_threads(params, workers)
    session = open_session(params, paths, asked=asked, threads=threads)
    study, store = session.study, session.store
    if session.identity.code != training_code_digest():
        print("note: the code that trains has changed since this study was started")
    _print_start(session, number)
    run = Run(store, session.job.parent_run)
    status = "FAILED"
    try:
        _search(session, number)
        seeds = _repeat_front(session, number)
        with results_lock(paths):
            results = read_results(study, seeds, params)
            files = write_results(results, study, params, paths.tuning)
            describe_results(run, results, params, files)
        status = "FINISHED"
    except (SystemExit, KeyboardInterrupt):
        status = "KILLED"
        finished = finished_trials(count_states(study))
        print(
            f"\nThe study {params.tune.study!r} keeps its {finished} of {asked} trials; the same"
            " command continues it, and `rhobeta tune show` shows it as it is."
        )
        raise
    finally:
        _end_runs(session, run, status)
    print_results(results, params)
    print(f"pictures and table  {paths.tuning}")
    print(f"MLflow              {run_link(store, run.run_id)} in {without_password(store.uri)}")


def open_session(params: Params, paths: Paths, *, asked: int, threads: int) -> TuningSession:
    """Make or join the study and its MLflow run.

    `asked` is the number of finished trials that the study is to have, `threads` those of each
    worker. Raises `RhobetaError` where data, database, store or an earlier study do not fit.
    """
    code = read_code(paths.workspace)
    manifest = _fitting_manifest(params, paths)
    url = storage_url(paths, params.tune.storage)
    storage = open_storage(url, heartbeat=params.tune.heartbeat)
    store = open_store(paths, params.runtime.experiment)
    name, fingerprint = params.tune.study, fingerprint_of(params, manifest.sha256)
    study, identity = open_study(storage, name, params, fingerprint, training_code_digest())
    # Trials of workers that were killed in an earlier command return to the queue.
    optuna.storages.fail_stale_trials(study)
    job = TuningJob(
        params=params,
        paths=paths,
        url=url,
        study=name,
        study_id=identity.id,
        parent_run=parent_run(store, params, identity.id, code, manifest).run_id,
        code=code,
        asked=asked,
        repeats=False,
        threads=threads,
    )
    return TuningSession(study, identity, job, storage, store)


def open_results(params: Params, paths: Paths) -> tuple[Study, StudyResults]:
    """What the study has found so far. Raises `RhobetaError` where there is none of this search."""
    url = storage_url(paths, params.tune.storage)
    name = params.tune.study
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise RhobetaError(f"There is no study yet.\n`rhobeta tune` runs {name!r}.")
    storage = open_storage(url, heartbeat=params.tune.heartbeat)
    try:
        study = load_study(storage, name, params)
    except KeyError:
        raise RhobetaError(
            f"There is no study {name!r} in {without_password(url)}.\n`rhobeta tune` runs it."
        ) from None
    identity = require_identity(study)
    data = identity.fingerprint.get("data (SHA-256)", "")
    require_same_search(study, identity, fingerprint_of(params, data))
    return study, read_results(study, _repeats(storage, identity, params), params)


def print_results(results: StudyResults, params: Params) -> None:
    """The front as a table, and the choice with its rule."""
    seeds = params.tune.seeds
    means = f", means of {seeds} further seeds ± 95 % interval" if results.repeated else ""
    if invalid := results.invalid:
        print(f"\n{len(invalid)} trials do not belong to this search and are left out:")
        for row in invalid[:_SHOWN]:
            print(f"  {row.note}")
    print(f"\nthe front of {len(results.complete)} complete trials{means}:\n")
    print(front_table(results))
    print()
    if results.shortfall:
        print(f"{results.shortfall}\n`rhobeta tune` runs those that have not been run yet.\n")
    if results.chosen is None:
        print(results.why_none)
        return
    values = results.row(results.chosen).values
    words = ", ".join(f"{path} {value}" for path, value in values.items())
    print(f"chosen: trial {results.chosen}, {words}")
    if params.tune.mode == "pareto":
        print(f"rule: {rule_in_words(params.tune.rule, params.tune.objectives)}")
    print("`rhobeta tune apply`, with the same -S if any, writes it into params.yaml.\n")


def _search(session: TuningSession, number: int) -> None:
    job, study = session.job, session.study
    missing = job.asked - finished_trials(count_states(study))
    if missing > 0:

        def best() -> str:
            results = read_results(study, None, job.params)
            if results.chosen is None:
                return ""
            measures = results.row(results.chosen).measures
            values = ", ".join(f"{name} {measures[name]:.4g}" for name in results.objectives)
            return f"best so far {values} (trial {results.chosen})"

        run_workers(job, study, min(number, missing), best)


def _repeat_front(session: TuningSession, number: int) -> Study | None:
    """Train each trial on the front with further seeds, as far as that has not been done."""
    study, job, identity = session.study, session.job, session.identity
    params = job.params
    if params.tune.seeds == 0:
        return None
    unpruned = params.model_copy(update={"tune": params.tune.model_copy(update={"pruner": "none"})})
    name = seeds_study(params.tune.study)
    seeds, _ = open_study(session.storage, name, unpruned, identity.fingerprint, identity.code)
    optuna.storages.fail_stale_trials(seeds)
    stored = {trial.number: trial.params for trial in study.get_trials(deepcopy=False)}
    for trial in read_results(study, None, params).front:
        for seed in further_seeds(params):
            seeds.enqueue_trial(
                {**stored[trial.number], SEED: seed}, {QUEUED: True}, skip_if_exists=True
            )
    counts = count_states(seeds)
    if waiting := counts["waiting"]:
        asked = finished_trials(counts) + waiting
        again = replace(job, params=unpruned, study=name, asked=asked, repeats=True)
        run_workers(again, seeds, min(number, waiting), lambda: "")
    return seeds


def _repeats(storage: RDBStorage, identity: StudyIdentity, params: Params) -> Study | None:
    """The study that repeats the front, where further seeds are asked for and it was started."""
    if params.tune.seeds == 0:
        return None
    name = seeds_study(params.tune.study)
    try:
        seeds = load_study(storage, name, params)
    except KeyError:
        return None
    require_same_search(seeds, require_identity(seeds), identity.fingerprint)
    return seeds


def _end_runs(session: TuningSession, run: Run, status: str) -> None:
    """End the study's run, and the runs of trials that no worker has any more."""

    def running() -> set[tuple[str, str]]:
        repeats = _repeats(session.storage, session.identity, session.job.params)
        return {
            (study.study_name, str(trial.number))
            for study in (session.study, repeats)
            if study is not None
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        }

    try:
        end_lost_runs(session.store, session.identity.id, running)
    finally:
        run.end(status)


def _require_one_device(params: Params) -> None:
    place = place_among_processes()
    if place is not None and place.world_size > 1:
        raise RhobetaError(
            f"{place.starter} has started this as one of {place.world_size} processes, but the"
            " search starts its own.\nStart one `rhobeta tune` on each machine, with a common"
            " database in tune.storage (docs/scaling.md)."
        )
    if params.runtime.nodes > 1 or params.runtime.devices not in (1, "auto"):
        raise RhobetaError(
            f"Found runtime.nodes {params.runtime.nodes} and runtime.devices"
            f" {params.runtime.devices}, but a trial runs on one device: expected 1 (or auto).\n"
            "Several devices run several trials: tune.workers. Several machines share a study:"
            " start `rhobeta tune` on each, with a common database in tune.storage"
            " (docs/scaling.md)."
        )


def _fitting_manifest(params: Params, paths: Paths) -> Manifest:
    manifest = read_manifest(paths.splits)
    asked = flatten(params.data, "data.")
    differing = [name for name, value in asked.items() if manifest.parameters.get(name) != value]
    if differing:
        raise RhobetaError(
            f"{paths.splits} was made with another {', '.join(differing)} than params.yaml has.\n"
            "Run `dvc repro preprocess`, then the search."
        )
    if not manifest.splits["validation"]["images"]:
        raise RhobetaError(
            "There are no validation images (data.validation_fraction 0), and the search never"
            " uses test images.\nSet data.validation_fraction, for example to 0.1."
        )
    return manifest


def _print_start(session: TuningSession, number: int) -> None:
    job = session.job
    finished = finished_trials(count_states(session.study))
    objectives = ", ".join(f"{how} {name}" for name, how in job.params.tune.objectives.items())
    print(f"study {job.study!r}: {objectives}, over {', '.join(job.params.tune.space)}")
    if finished >= job.asked:
        print(f"it has {finished} finished trials, {job.asked} are asked for: none is run")
        return
    before = f"{finished} finished before, " if finished else ""
    print(
        f"{before}{job.asked} finished trials asked for; {number} worker{'s' * (number > 1)} of"
        f" {job.threads} thread{'s' * (job.threads > 1)}; database {without_password(job.url)}",
        flush=True,
    )
