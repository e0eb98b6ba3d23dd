"""A worker: a process that loads the data once and runs trials until the study has enough."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import Code

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

    from rhobeta.tuning.trial import Surroundings

_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """What a worker is told; everything else it reads for itself."""

    params: Params
    paths: Paths
    url: str
    """Of the studies' database, with its password."""
    study: str
    study_id: str
    parent_run: str
    code: Code
    asked: int
    """Finished trials that the study is to have."""
    repeats: bool
    """Whether the trials are those in the queue alone, each with a seed of its own."""
    threads: int


def work(job: Job) -> None:
    """Run trials until the study has as many as asked for; the body of a worker process.

    Ctrl-C is left to the parent, which ends workers by SIGTERM: the trial goes back into the queue.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = _status_of(job)
    sys.stderr.flush()
    # All that a worker has is written. To take torch and its threads apart would cost seconds.
    os._exit(status)


def _status_of(job: Job) -> int:
    try:
        run_until_enough(job, ending=threading.Event())
    except SystemExit:
        return 128 + signal.SIGTERM
    except Exception as error:
        from rhobeta.tracking.store import without_password

        kind = "" if isinstance(error, RhobetaError) else f"{type(error).__name__}: "
        reason = without_password(f"{kind}{error}")[:1000]
        print(f"\nrhobeta tune: a worker has ended: {reason}", file=sys.stderr)
        return 1
    return 0


def run_until_enough(job: Job, ending: threading.Event | None = None) -> None:
    """Load what trials need, and run one after the other as long as the study lacks some.

    Where `ending` is given, SIGTERM sets it once all is loaded, and a trial ends at its next step
    with `SystemExit`, back in the queue.
    """
    from rhobeta.extensions import load_extensions

    load_extensions(job.paths.workspace / "extensions")

    import torch

    from rhobeta.tracking.store import StoreUnavailableError
    from rhobeta.tuning.outage import Outage
    from rhobeta.tuning.queue import Queue
    from rhobeta.tuning.storage import open_storage
    from rhobeta.tuning.study import counts_of, is_one_too_many, live_count, load_study

    torch.set_num_threads(job.threads)
    storage = open_storage(job.url, heartbeat=job.params.tune.heartbeat)
    study = load_study(storage, job.study, job.params)
    ending_or_never = ending or threading.Event()
    around = surroundings_of(job, ending_or_never)
    if ending is not None:
        # A flag rather than an exception, which in the midst of a write would leave a lock behind.
        signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    queue, outage = Queue(study, storage, job.url), Outage(around.store)
    parent = multiprocessing.parent_process()
    while (counts := counts_of(study)).finished < job.asked and not counts.hopeless:
        if ending_or_never.is_set() or (parent is not None and not parent.is_alive()):
            return
        queue.tend()
        if outage.lasts():
            ending_or_never.wait(_WAIT_SECONDS)
            continue
        queue.close_given_up(around.store)
        if live_count(study) >= job.asked or (job.repeats and not counts.waiting):
            # Others are at the last ones; should one of them be lost, this worker takes its trial.
            if job.repeats and not counts.waiting and not counts.running:
                return
            time.sleep(_WAIT_SECONDS)
            continue
        trial = queue.claim()
        if is_one_too_many(study, trial.number, job.asked) or (
            job.repeats and queue.is_drawn(trial)
        ):
            queue.withdraw(trial)
            continue
        try:
            run_and_tell(study, storage, trial, around)
        except StoreUnavailableError as away:
            outage.begin(away)
        else:
            outage.over()


def run_and_tell(
    study: "optuna.Study",
    storage: "RDBStorage",
    trial: "optuna.Trial",
    around: "Surroundings",
) -> None:
    """Run a trial and tell the study what became of it.

    A training that fails is told as failed, with its error in a user attribute. A worker that is
    asked to end puts its trial back into the queue, and so does one whose MLflow server is away
    (`StoreUnavailableError`). What a trial gives that was taken for lost in the meantime is
    dropped: it runs again elsewhere, and counts there.
    """
    import optuna
    from optuna.trial import TrialState

    from rhobeta.tracking.store import StoreUnavailableError
    from rhobeta.tuning.queue import Queue
    from rhobeta.tuning.storage import alive
    from rhobeta.tuning.study import ERROR
    from rhobeta.tuning.trial import run_trial

    queue = Queue(study, storage, around.job.url)
    values: list[float] | None = None
    state = TrialState.FAIL
    try:
        with alive(storage, trial._trial_id):
            values = run_trial(trial, around)
            state = TrialState.COMPLETE
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except (SystemExit, KeyboardInterrupt, StoreUnavailableError):
        if not queue.put_back(trial):
            _disown(storage, trial, around)
        raise
    except optuna.exceptions.UpdateFinishedTrialError:
        _disown(storage, trial, around)
        return
    except Exception as error:
        _tell_error(trial, error, ERROR)
    if not queue.tell(trial, state, values):
        _disown(storage, trial, around)


def surroundings_of(job: Job, ending: threading.Event) -> "Surroundings":
    """Load once what all trials of a worker need: the splits but for the test split, the store."""
    import numpy as np

    from rhobeta.data.splits import read_manifest, read_split
    from rhobeta.tracking.store import open_store
    from rhobeta.tuning.measures import Probe
    from rhobeta.tuning.space import distributions_of, with_seed
    from rhobeta.tuning.trial import Surroundings

    params = job.params
    manifest = read_manifest(job.paths.splits)
    train = read_split(job.paths.splits, "train", manifest)
    validation = read_split(job.paths.splits, "validation", manifest)
    distributions = distributions_of(params)
    probe = None
    if "probe_accuracy" in params.tune.metrics:
        few = min(params.tune.probe_images, len(train.labels))
        evaluate = params.evaluate
        probe = Probe(
            train.take(np.arange(few)),
            validation,
            evaluate.probe_penalty,
            evaluate.probe_iterations,
        )
    return Surroundings(
        params=params,
        distributions=with_seed(distributions) if job.repeats else distributions,
        manifest=manifest,
        train=train,
        validation=validation,
        probe=probe,
        store=open_store(job.paths, params.runtime.experiment),
        code=job.code,
        parent=job.parent_run,
        study=job.study,
        study_id=job.study_id,
        job=job,
        ending=ending,
    )


def _disown(storage: "RDBStorage", trial: "optuna.Trial", around: "Surroundings") -> None:
    from rhobeta.tuning.runs import disown_run
    from rhobeta.tuning.study import RUN

    run_id = storage.get_trial(trial._trial_id).user_attrs.get(RUN)
    if run_id is not None:
        disown_run(around.store, run_id)


def _tell_error(trial: "optuna.Trial", error: Exception, key: str) -> None:
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        trial.set_user_attr(key, f"{type(error).__name__}: {error}"[:2000])
    except UpdateFinishedTrialError:
        return


def environment_of_worker(index: int, threads: int, gpus: int, devices: int = 1) -> dict[str, str]:
    """What a worker's process is started with: its threads, and the GPUs that its trials use.

    These are read when torch and numpy are imported, so they must be there before.
    """
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment["OPENBLAS_NUM_THREADS"] = str(threads)
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(number) for number in range(gpus)]
        mine = range(index * devices, (index + 1) * devices)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[i % len(names)] for i in mine)
    return environment
