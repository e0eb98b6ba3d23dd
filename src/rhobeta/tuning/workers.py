"""Worker processes: each runs `study.optimize` until the study has enough trials."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess

import optuna
from optuna.study import MaxTrialsCallback, Study
from optuna.trial import TrialState

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.tracking.away import for_a_moment, is_away
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.store import Store, without_password
from rhobeta.training.devices import gpus
from rhobeta.tuning.job import TuningJob
from rhobeta.tuning.storage import GRACE_BEATS, open_storage
from rhobeta.tuning.study import (
    ERROR,
    FINISHED_STATES,
    count_states,
    finished_trials,
    load_study,
    too_many_failures,
)
from rhobeta.utils.threads import cores

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0
_SERVER_LOOK_SECONDS = 5.0
"""Between two looks for an MLflow server that does not answer."""
_LINES = 20
"""Lines that report the progress of a study from nothing to its end, about."""

Callback = Callable[[Study, optuna.trial.FrozenTrial], None]


def workers_and_threads(params: Params, asked: int | None) -> tuple[int, int]:
    """How many workers this machine runs, and the CPU threads of each.

    `asked` is the command's `--workers`, which overrides `tune.workers`. By default one worker for
    each GPU, else one for every `runtime.threads` cores; `threads: auto` means one thread, so that
    results do not depend on the number of workers.
    """
    threads = 1 if params.runtime.threads == "auto" else params.runtime.threads
    if asked is not None:
        return asked, threads
    if params.tune.workers != "auto":
        return params.tune.workers, threads
    return gpus(params.runtime.accelerator) or max(1, cores() // threads), threads


def run_workers(job: TuningJob, study: Study, number: int, best: Callable[[], str]) -> None:
    """Run workers until the study has the trials that the job asks for.

    Prints the states of trials and what `best` returns, about twenty times. Raises `RhobetaError`
    where too many trials fail, or all workers end early; `KeyboardInterrupt` on Ctrl-C, when all
    workers have ended and their trials are queued again.
    """
    workers: list[SpawnProcess] = []
    reported, noted = finished_trials(count_states(study)), set[str]()
    try:
        workers += _start(job, number)
        while any(worker.is_alive() for worker in workers):
            time.sleep(_LOOK_SECONDS)
            reported = _report(job, study, reported, best)
            for worker in workers:
                if worker.exitcode not in (None, 0) and worker.name not in noted:
                    noted.add(worker.name)
                    print(_how_it_ended(worker, job.params), flush=True)
    except KeyboardInterrupt:
        print("\nending the workers; their trials return to the queue ...", flush=True)
        raise
    finally:
        _end(workers)
    _report(job, study, reported, best)
    if noted and count_states(study)["running"]:
        # Until the trial of a killed worker counts as lost, it would look as if it still ran.
        time.sleep(GRACE_BEATS * job.params.tune.heartbeat + 1)
        optuna.storages.fail_stale_trials(study)
    _require_enough(job, study, len(workers))


def work(job: TuningJob) -> None:
    """The body of a worker process.

    Ctrl-C is left to the parent, which sends SIGTERM: the running trial is queued again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_trials(job)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:
        kind = "" if isinstance(error, RhobetaError) else f"{type(error).__name__}: "
        reason = without_password(f"{kind}{error}")[:1000]
        print(f"\nrhobeta tune: a worker has ended: {reason}", file=sys.stderr)
        sys.exit(1)


def run_trials(job: TuningJob) -> None:
    """Run trials in this process until the study has as many as the job asks for."""
    from rhobeta.extensions import load_extensions

    load_extensions(job.paths.workspace / "extensions")

    # Imported here: the parent need not load torch.
    import torch

    from rhobeta.tuning.objective import TrialObjective

    torch.set_num_threads(job.threads)
    objective = TrialObjective(job)
    storage = open_storage(job.url, heartbeat=job.params.tune.heartbeat)
    study = load_study(storage, job.study, job.params)
    callbacks: list[Callback] = [
        _stop_without_parent,
        lambda study, trial: _wait_for_server(objective.store),
        _stop_without_queue if job.repeats else MaxTrialsCallback(job.asked, FINISHED_STATES),
        _stop_on_failures,
    ]
    while True:
        try:
            study.optimize(objective, catch=(Exception,), callbacks=callbacks)
        except ValueError as error:
            if "Cannot tell" not in str(error):
                raise
            # This process slept so long that another worker took its trial for lost and runs it.
            print(f"note: a trial ran elsewhere meanwhile; its result is dropped ({error})")
        else:
            return


def _stop_without_parent(study: Study, trial: optuna.trial.FrozenTrial) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        study.stop()


def _stop_without_queue(study: Study, trial: optuna.trial.FrozenTrial) -> None:
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.stop()


def _stop_on_failures(study: Study, trial: optuna.trial.FrozenTrial) -> None:
    if too_many_failures(count_states(study)):
        study.stop()


def _wait_for_server(store: Store) -> None:
    """Wait between two trials while the MLflow server does not answer."""
    told = False
    while store.outbox is not None:
        try:
            with for_a_moment():
                store.client.get_experiment(store.experiment_id)
        except Exception as error:
            if not is_away(error):
                return
            if not told:
                told = True
                server = without_password(store.uri)
                print(f"note: {server} does not answer; this worker waits for it", flush=True)
            time.sleep(_SERVER_LOOK_SECONDS)
        else:
            return


def _start(job: TuningJob, number: int) -> list[SpawnProcess]:
    # torch hangs in its thread pools after a fork.
    context = multiprocessing.get_context("spawn")
    devices = gpus(job.params.runtime.accelerator)
    workers = []
    for index in range(number):
        worker = context.Process(target=work, args=(job,), name=f"worker {index}")
        environment = worker_environment(index, job.threads, devices)
        with environment_kept(environment), _no_interrupts():
            os.environ.update(environment)
            worker.start()
        workers.append(worker)
    return workers


def worker_environment(index: int, threads: int, count: int) -> dict[str, str]:
    """Threads and GPU (one of `count`) of a worker, as variables that torch reads on import."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = dict.fromkeys(names, str(threads))
    if count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(gpu) for gpu in range(count)]
        environment["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
    return environment


def _end(workers: list[SpawnProcess]) -> None:
    with _no_interrupts():
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        end = time.monotonic() + _END_SECONDS
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C, here and in processes started here: a start or an end must be complete."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(job: TuningJob, study: Study, reported: int, best: Callable[[], str]) -> int:
    """Print a line if enough trials have finished since `reported`; the number that it covers."""
    counts = count_states(study)
    finished = finished_trials(counts)
    due = finished - reported >= max(1, job.asked // _LINES) or finished >= job.asked
    if job.repeats or finished == reported or not due:
        return reported
    others = [f"{counts[state]} {state}" for state in ("pruned", "failed", "lost") if counts[state]]
    words = ", ".join(filter(None, [*others, best()]))
    print(f"study {job.study}: {finished} of {job.asked} finished, {words}", flush=True)
    return finished


def _how_it_ended(worker: SpawnProcess, params: Params) -> str:
    code = worker.exitcode or 0
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    seconds = GRACE_BEATS * params.tune.heartbeat
    return f"{worker.name} has ended {how}; another worker repeats its trial after {seconds} s"


def _require_enough(job: TuningJob, study: Study, workers: int) -> None:
    counts = count_states(study)
    finished = finished_trials(counts)
    if too_many_failures(counts):
        errors = [
            trial.user_attrs[ERROR]
            for trial in study.get_trials(deepcopy=False)
            if ERROR in trial.user_attrs
        ]
        raise RhobetaError(
            f"{counts['failed']} trials failed and {finished} finished. The last error:\n"
            f"  {errors[-1]}\n"
            "Correct the parameters or tune.space, and name another study in tune.study."
        )
    if finished < job.asked and not job.repeats:
        raise RhobetaError(
            f"All {workers} workers have ended, with {finished} of {job.asked} trials finished;"
            " see their messages above.\nRun the command again to continue."
        )
