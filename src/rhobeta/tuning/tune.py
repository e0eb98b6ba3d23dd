"""`rhobeta tune`: check, make or join the study, run it, repeat its front, say what was found."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEED
from rhobeta.data.splits import Manifest, read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store, open_store, without_password
from rhobeta.training.code import training_code_digest
from rhobeta.training.devices import place_among_processes
from rhobeta.tuning.choice import rule_in_words
from rhobeta.tuning.launch import run_workers, workers_and_threads
from rhobeta.tuning.progress import best_so_far
from rhobeta.tuning.results import Results, front_table, further_seeds, results_of
from rhobeta.tuning.runs import parent_run, run_link
from rhobeta.tuning.show import describe_results, one_writer, write_results
from rhobeta.tuning.space import stored_choice
from rhobeta.tuning.storage import open_storage, sqlite_file, storage_url
from rhobeta.tuning.study import (
    Identity,
    counts_of,
    fingerprint_of,
    identity_of,
    load_study,
    make_or_join,
    of_another_program,
    require_same_search,
    seeds_study,
)
from rhobeta.tuning.worker import Job

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study

_PARENT_SECONDS = 10
_LOOK_SECONDS = 0.2


def tune(
    params: Params, paths: Paths, *, trials: int | None = None, workers: int | None = None
) -> None:
    """Run the study until it has the trials asked for, and show what it has found.

    `trials` and `workers` go before `tune.trials` and `tune.workers`. Raises `RhobetaError` before
    any trial where something does not fit; `KeyboardInterrupt` on Ctrl-C, with the study kept.
    """
    asked = params.tune.trials if trials is None else trials
    _require_one_machine(params)
    number, threads = workers_and_threads(params, workers)
    begun = begin(params, paths, asked=asked, threads=threads)
    job, study, store = begun.job, begun.study, begun.store
    if begun.identity.code != training_code_digest():
        print("note: the code that trains has changed since this study was begun")
    run = Run(store, job.parent_run)
    _say_what_is_begun(job, study, number)
    status = "FAILED"
    try:
        _search(job, study, number)
        seeds = _repeat_front(begun, number)
        with one_writer(paths):
            results = results_of(study, seeds, params)
            with_pictures = write_results(results, study, params, paths.tuning)
            describe_results(run, results, params, with_pictures)
        status = "FINISHED"
    except SystemExit:
        status = "KILLED"
        raise
    except KeyboardInterrupt:
        status = "KILLED"
        finished = counts_of(study).finished
        print(
            f"\nThe study {params.tune.study!r} keeps its {finished} of {asked} trials; the same"
            " command continues it, and `rhobeta tune show` shows it as it is."
        )
        raise
    finally:
        run.end(status)
    print_results(results, params)
    print(f"pictures and table  {paths.tuning}")
    print(f"MLflow              {run_link(store, run.run_id)} in {without_password(store.uri)}")


@dataclass(frozen=True)
class Begun:
    """A study that workers can be given, and where it lies."""

    study: "Study"
    identity: Identity
    job: Job
    """What its workers are told."""
    storage: "RDBStorage"
    store: Store


def begin(params: Params, paths: Paths, *, asked: int, threads: int) -> Begun:
    """Make or join the study and its MLflow run.

    `asked` is the number of finished trials that it is to have, `threads` those of each worker.
    Raises `RhobetaError` where data, database, store or an earlier study do not fit.
    """
    code = read_code(paths.workspace)
    manifest = _fitting_manifest(params, paths)
    url = storage_url(paths, params.tune.storage)
    storage = open_storage(url, heartbeat=params.tune.heartbeat)
    store = open_store(paths, params.runtime.experiment)
    name, fingerprint = params.tune.study, fingerprint_of(params, manifest.sha256)
    study, identity, made_here = make_or_join(
        storage, name, params, fingerprint, training_code_digest()
    )
    end = time.monotonic() + _PARENT_SECONDS

    def parent_is_awaited() -> bool:
        # From who has made the study, into the same store: before any trial, if ever.
        if made_here or study.get_trials(deepcopy=False) or time.monotonic() > end:
            return False
        time.sleep(_LOOK_SECONDS)
        return True

    parent = parent_run(store, params, identity.id, code, manifest, awaited=parent_is_awaited)
    job = Job(
        params=params,
        paths=paths,
        url=url,
        study=name,
        study_id=identity.id,
        parent_run=parent.run_id,
        code=code,
        asked=asked,
        repeats=False,
        threads=threads,
    )
    return Begun(study, identity, job, storage, store)


def open_results(params: Params, paths: Paths) -> tuple["Study", Results]:
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
    identity = identity_of(study)
    if identity is None:
        if study.get_trials(deepcopy=False):
            raise of_another_program(name)
        raise RhobetaError(f"The study {name!r} has no trials yet.\n`rhobeta tune` runs it.")
    data = identity.fingerprint.get("data (SHA-256)", "")
    require_same_search(name, identity, fingerprint_of(params, data))
    return study, results_of(study, _repeats(storage, identity, params), params)


def print_results(results: Results, params: Params) -> None:
    """The front as a table, and the choice with its rule."""
    if params.tune.mode == "pareto":
        means = f", means of {results.seeds} further seeds ± 95 % interval" * bool(results.seeds)
        means += " where there are all" * bool(results.seeds and results.missing)
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
    print("`rhobeta tune apply` writes it into params.yaml; then `dvc repro`.\n")


def _search(job: Job, study: "Study", number: int) -> None:
    if counts_of(study).finished >= job.asked:
        return
    run_workers(
        job,
        study,
        number,
        what=f"study {job.study}",
        best=lambda: best_so_far(results_of(study, None, job.params)),
    )


def _repeat_front(begun: Begun, number: int) -> "Study | None":
    """Train each trial on the front with further seeds, as far as that has not been done."""
    study, job, identity = begun.study, begun.job, begun.identity
    params = job.params
    if params.tune.seeds == 0:
        return None
    unpruned = params.model_copy(update={"tune": params.tune.model_copy(update={"pruner": "none"})})
    name = seeds_study(params.tune.study)
    seeds, *_ = make_or_join(begun.storage, name, unpruned, identity.fingerprint, identity.code)
    for candidate in results_of(study, None, params).front:
        stored = study.get_trials(deepcopy=False)[candidate.number].params
        for seed in further_seeds(params):
            seeds.enqueue_trial(
                {**{path: stored_choice(value) for path, value in stored.items()}, SEED: seed},
                skip_if_exists=True,
            )
    counts = counts_of(seeds)
    if counts.waiting or counts.running:
        asked = counts.finished + counts.waiting + counts.running
        run_workers(
            replace(job, params=unpruned, study=name, asked=asked, repeats=True),
            seeds,
            number,
            what="the front with further seeds",
            best=lambda: "",
        )
    return seeds


def _repeats(storage: "RDBStorage", identity: Identity, params: Params) -> "Study | None":
    """The study that repeats the front, where further seeds are asked for and it was begun."""
    if params.tune.seeds == 0:
        return None
    name = seeds_study(params.tune.study)
    try:
        seeds = load_study(storage, name, params)
    except KeyError:
        return None
    found = identity_of(seeds)
    if found is None:
        raise of_another_program(name)
    require_same_search(name, found, identity.fingerprint)
    return seeds


def _require_one_machine(params: Params) -> None:
    place = place_among_processes()
    if place is not None and place.world_size > 1:
        raise RhobetaError(
            f"{place.starter} has started this as one of {place.world_size} processes, but the"
            " search starts its own.\nStart one `rhobeta tune` on each machine, with the database"
            " of tune.storage in common (docs/scaling.md)."
        )
    if params.runtime.nodes > 1:
        raise RhobetaError(
            f"runtime.nodes is {params.runtime.nodes}, but a trial runs on one machine; expected"
            " 1.\nSeveral machines share a study: start `rhobeta tune` on each, with the database"
            " of tune.storage in common (docs/scaling.md)."
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
            " looks at test images.\nHold some out: data.validation_fraction 0.1."
        )
    return manifest


def _say_what_is_begun(job: Job, study: "Study", number: int) -> None:
    counts = counts_of(study)
    objectives = ", ".join(f"{how} {name}" for name, how in job.params.tune.objectives.items())
    print(f"study {job.study!r}: {objectives}, over {', '.join(job.params.tune.space)}")
    if counts.finished >= job.asked:
        print(f"it has {counts.finished} finished trials, {job.asked} are asked for: none is run")
        return
    begun = f"{counts.finished} finished before, " if counts.finished else ""
    threads = f"{job.threads} thread{'s' if job.threads > 1 else ''}"
    print(
        f"{begun}{job.asked} finished trials asked for; {number} worker"
        f"{'s' if number > 1 else ''} of {threads}; database {without_password(job.url)}",
        flush=True,
    )
