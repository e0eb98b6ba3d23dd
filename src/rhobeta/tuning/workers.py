"""Worker processes: each runs `study.optimize` until the study has enough trials."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess

import optuna
from optuna.study import MaxTrialsCallback, Study
from optuna.trial import FrozenTrial, TrialState

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.extensions import load_extensions
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.store import Store
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
from rhobeta.utils.terminal import printable_output
from rhobeta.utils.threads import cores

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0
_SERVER_LOOK_SECONDS = 5.0
_LINES = 20
"""About how many lines report the progress of a study."""


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

    Prints the progress, with what `best` returns. Raises `RhobetaError` where too many trials fail,
    or all workers end early; `KeyboardInterrupt` on Ctrl-C, when all workers have ended and their
    trials are queued again.
    """
    workers: list[SpawnProcess] = []
    reported = finished_trials(count_states(study))
    killed: set[str] = set()
    try:
        workers += _start(job, number)
        while any(worker.is_alive() for worker in workers):
            time.sleep(_LOOK_SECONDS)
            reported = _report(job, study, reported, best)
            for worker in workers:
                if worker.exitcode and worker.name not in killed:
                    killed.add(worker.name)
                    how = f"{worker.name} has ended with exit code {worker.exitcode}"
                    print(f"{how}; a trial that it had runs again later", flush=True)
    except KeyboardInterrupt:
        print("\nending the workers; their trials return to the queue ...", flush=True)
        raise
    finally:
        _end(workers)
    _report(job, study, reported, best)
    if killed and count_states(study)["running"]:
        # The trial of a killed worker counts as running until its heartbeats are overdue.
        time.sleep(GRACE_BEATS * job.params.tune.heartbeat + 1)
        optuna.storages.fail_stale_trials(study)
    _require_enough(job, study)


def work(job: TuningJob) -> None:
    """The body of a worker process. SIGTERM interrupts it, and its trial is queued again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with printable_output(without_password):
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
    load_extensions(job.paths.workspace / "extensions")
    # Imported here: the parent need not load torch.
    import torch

    from rhobeta.tuning.objective import TrialObjective

    torch.set_num_threads(job.threads)
    objective = TrialObjective(job)
    storage = open_storage(job.url, heartbeat=job.params.tune.heartbeat)
    study = load_study(storage, job.study, job.params)
    callbacks: list[Callable[[Study, FrozenTrial], None]] = [
        _stop_without_queue if job.repeats else MaxTrialsCallback(job.asked, FINISHED_STATES),
        _stop_without_hope_or_parent,
        lambda study, trial: _wait_for_server(objective.store),
    ]
    while True:
        try:
            study.optimize(objective, catch=(Exception,), callbacks=callbacks)
        except ValueError as error:
            if "Cannot tell" not in str(error):
                raise
            # This process slept so long that another worker took its trial for lost and ran it.
            print(f"note: a trial ran elsewhere meanwhile; its result is dropped ({error})")
        else:
            return


def worker_environment(index: int, threads: int, count: int) -> dict[str, str]:
    """Threads and GPU (one of `count`) of a worker, as variables that torch reads on import."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = dict.fromkeys(names, str(threads))
    if count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(gpu) for gpu in range(count)]
        environment["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
    return environment


def _stop_without_queue(study: Study, trial: FrozenTrial) -> None:
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.stop()


def _stop_without_hope_or_parent(study: Study, trial: FrozenTrial) -> None:
    parent = multiprocessing.parent_process()
    if too_many_failures(count_states(study)) or (parent is not None and not parent.is_alive()):
        study.stop()


def _wait_for_server(store: Store) -> None:
    """Wait between two trials while the MLflow server does not answer."""
    noted = False
    while store.pending is not None and not store.answers():
        if not noted:
            noted = True
            server = without_password(store.uri)
            print(f"note: {server} does not answer; this worker waits for it", flush=True)
        time.sleep(_SERVER_LOOK_SECONDS)


def _start(job: TuningJob, number: int) -> list[SpawnProcess]:
    # torch hangs in its thread pools after a fork.
    context = multiprocessing.get_context("spawn")
    devices = gpus(job.params.runtime.accelerator)
    workers = []
    for index in range(number):
        worker = context.Process(target=work, args=(job,), name=f"worker {index}")
        environment = worker_environment(index, job.threads, devices)
        # Workers inherit that Ctrl-C is ignored: the parent ends them by SIGTERM.
        with _environment(environment), _no_interrupts():
            worker.start()
        workers.append(worker)
    return workers


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which a process that starts meanwhile inherits."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name)
        os.environ.update(before)


def _end(workers: list[SpawnProcess]) -> None:
    with _no_interrupts():
        for worker in workers:
            worker.terminate()
        end = time.monotonic() + _END_SECONDS
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
            worker.kill()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(job: TuningJob, study: Study, reported: int, best: Callable[[], str]) -> int:
    """Print a line if enough trials have finished since `reported`; returns the number covered."""
    counts = count_states(study)
    finished = finished_trials(counts)
    due = finished - reported >= max(1, job.asked // _LINES) or finished >= job.asked
    if finished == reported or not due:
        return reported
    others = [f"{counts[state]} {state}" for state in ("pruned", "failed", "lost") if counts[state]]
    words = ", ".join([f"{finished} of {job.asked} finished", *others, *filter(None, [best()])])
    print(f"study {job.study}: {words}", flush=True)
    return finished


def _require_enough(job: TuningJob, study: Study) -> None:
    counts = count_states(study)
    finished = finished_trials(counts)
    if too_many_failures(counts):
        errors = [t.user_attrs[ERROR] for t in study.get_trials() if ERROR in t.user_attrs]
        raise RhobetaError(
            f"{counts['failed']} trials failed and {finished} finished. The last error:\n"
            f"  {errors[-1]}\n"
            "Correct the parameters or tune.space, and name another study in tune.study."
        )
    if finished < job.asked and not job.repeats:
        raise RhobetaError(
            f"All workers have ended, with {finished} of {job.asked} trials finished; see their"
            " messages above.\nRun the command again to continue."
        )
