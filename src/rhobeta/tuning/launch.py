"""The parent: starts workers, watches the study, ends what it started."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.tracking.environment import environment_kept
from rhobeta.training.devices import gpus
from rhobeta.tuning.progress import Progress
from rhobeta.tuning.ranks import devices_of
from rhobeta.tuning.study import ERROR, Counts, counts_of
from rhobeta.tuning.worker import Job, environment_of_worker, work
from rhobeta.utils.threads import cores

if TYPE_CHECKING:
    from optuna.study import Study

_LOOK_SECONDS = 0.5
_END_SECONDS = 30.0


def workers_and_threads(params: Params, asked: int | None) -> tuple[int, int]:
    """How many workers this machine is to run, and the CPU threads of each.

    `asked` is the command's own word, before `tune.workers`. By default one a GPU, else as many as
    the cores hold of `runtime.threads`; `threads: auto` is one each, so that the numbers do not
    depend on how many workers there are. Trials of several devices take as many times more.
    """
    threads = 1 if params.runtime.threads == "auto" else params.runtime.threads
    if asked is not None:
        return asked, threads
    if params.tune.workers != "auto":
        return params.tune.workers, threads
    room = gpus(params.runtime.accelerator) or cores() // threads
    return max(1, room // devices_of(params)), threads


def run_workers(
    job: Job,
    study: "Study",
    number: int,
    *,
    what: str,
    best: Callable[[], str],
) -> None:
    """Run workers until the study has the trials that the job asks for.

    `what` is said before the progress, `best` says the best so far. Raises `RhobetaError` where
    trial after trial fails, or all workers have ended before their time; `KeyboardInterrupt` on
    Ctrl-C, when all workers have ended and their trials are back in the queue.
    """
    counts = counts_of(study)
    progress = Progress(job.asked, counts.finished, what)
    workers: list[SpawnProcess] = []
    noted: set[str] = set()
    told = -1
    words = ""
    try:
        workers += _start(job, min(number, max(1, job.asked - counts.finished)))
        while any(worker.is_alive() for worker in workers):
            time.sleep(_LOOK_SECONDS)
            counts = counts_of(study)
            if counts.finished != told:
                told, words = counts.finished, best()
            progress.show(counts, words)
            for worker in workers:
                if worker.exitcode not in (None, 0) and worker.name not in noted:
                    noted.add(worker.name)
                    progress.note(_how_it_ended(worker, job.params))
        counts = counts_of(study)
        progress.show(counts, best())
    except KeyboardInterrupt:
        progress.note("\nending the workers; their trials go back into the queue ...")
        raise
    finally:
        _end(workers)
        progress.close()
    if counts.hopeless:
        raise RhobetaError(_hopeless(study, counts))
    if counts.finished < job.asked and not job.repeats:
        raise RhobetaError(
            f"All {len(workers)} workers have ended, with {counts.finished} of {job.asked} trials"
            " finished; what they said stands above.\nRun the command again to continue."
        )


def _start(job: Job, number: int) -> list[SpawnProcess]:
    # A forked torch hangs in its thread pools; a spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    devices = gpus(job.params.runtime.accelerator)
    workers = []
    for index in range(number):
        worker = context.Process(target=work, args=(job,), name=f"worker {index}")
        environment = environment_of_worker(index, job.threads, devices, devices_of(job.params))
        with environment_kept(environment), _no_interrupts():
            os.environ.update(environment)
            worker.start()
        workers.append(worker)
    return workers


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
    """Ignore Ctrl-C, here and in what is started: a worker's start and end must be complete."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _how_it_ended(worker: SpawnProcess, params: Params) -> str:
    code = worker.exitcode or 0
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    seconds = 3 * params.tune.heartbeat
    return (
        f"{worker.name} has ended {how}; if it had a trial, another worker runs it again within"
        f" about {seconds} s"
    )


def _hopeless(study: "Study", counts: Counts) -> str:
    errors = [
        trial.user_attrs[ERROR]
        for trial in study.get_trials(deepcopy=False)
        if ERROR in trial.user_attrs
    ]
    return (
        f"{counts.failed} trials have failed and {counts.finished} finished; going on makes no"
        f" sense. The last error:\n  {errors[-1] if errors else 'their workers were lost'}\n"
        "Correct the parameters or tune.space, and name another study in tune.study."
    )
