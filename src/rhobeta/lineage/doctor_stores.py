"""The stores: MLflow's database, runs that nobody works on, unfinished trainings, the outbox."""

import fcntl
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.lineage.doctor_finding import Finding, fault, note, ok
from rhobeta.lineage.doctor_shared_store import check_shared_store
from rhobeta.paths import Paths
from rhobeta.tracking.database import known_versions
from rhobeta.tracking.outbox import outbox_of, waiting_runs
from rhobeta.tracking.store import store_uri
from rhobeta.tracking.tags import MODEL_TAG, STAGE_TAG
from rhobeta.training.checkpoint_folder import CheckpointFolder

_DAY = 86_400
_SHOWN = 3


def check_stores(paths: Paths) -> list[Finding]:
    """The store that is in use, and all that lies in `mlruns/`."""
    uri = store_uri(paths)
    found = [_file_store(paths)]
    if uri.startswith("sqlite:///"):
        found += _database(Path(uri.removeprefix("sqlite:///")), paths)
    else:
        found += check_shared_store(paths)
    return [*found, *_unfinished(paths), *_outbox(paths)]


def _file_store(paths: Paths) -> Finding:
    old = sorted(paths.store.glob("[0-9]*/meta.yaml"))
    if not old:
        return ok("file store", "none")
    return fault(
        "file store",
        f"{old[0].parent} is of the file store that MLflow refuses since 3.13",
        "Its runs are not shown. `mlflow migrate-filestore --help` tells how to bring them into a"
        " database; or move the numbered folders out of mlruns/.",
    )


def _database(file: Path, paths: Paths) -> list[Finding]:
    if not file.is_file():
        return [ok("MLflow database", "none yet; the first training makes it")]
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            (sound,) = opened.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                return [_damaged(file, sound)]
            version = _schema(opened)
            if version is not None:
                return [version]
            return [
                ok("MLflow database", f"{file}, sound"),
                *_left_running(opened, paths),
                *_searches(opened),
                *_claims(opened),
            ]
    except sqlite3.DatabaseError as error:
        return [_damaged(file, str(error))]


def _damaged(file: Path, reason: str) -> Finding:
    return fault(
        "MLflow database",
        f"{file} is damaged, locked or half-written: {' '.join(reason.split())}",
        "End what else holds it; bring it back from a backup; or move it away: the next training"
        " makes a new one.",
    )


def _schema(database: sqlite3.Connection) -> Finding | None:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if not {"alembic_version", "runs", "tags", "experiments"} <= tables:
        return _damaged(Path(_file_of(database)), "tables are missing")
    versions = [version for (version,) in database.execute("SELECT * FROM alembic_version")]
    known = known_versions()
    if not known:
        return fault("MLflow database", "cannot be judged: MLflow is not installed", "`make setup`")
    newest = known[-1]
    if versions == [newest]:
        return None
    if len(versions) == 1 and versions[0] in known:
        return fault(
            "MLflow database",
            f"of an older MLflow (schema {versions[0]}, wanted {newest})",
            f"Copy the file, then `mlflow db upgrade sqlite:///{_file_of(database)}`.",
        )
    return fault(
        "MLflow database",
        f"of a newer MLflow than is installed, or half upgraded (schema {versions})",
        "Install the MLflow that wrote it (`make setup` for that of requirements.lock), or bring"
        " the file back from a backup.",
    )


def _file_of(database: sqlite3.Connection) -> str:
    return str(database.execute("PRAGMA database_list").fetchone()[2])


def _left_running(database: sqlite3.Connection, paths: Paths) -> list[Finding]:
    running = database.execute(
        "SELECT r.run_uuid FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
        " WHERE r.status = 'RUNNING' AND r.lifecycle_stage = 'active'"
        " AND t.key = ? AND t.value IN ('train', 'restored') ORDER BY r.start_time",
        (STAGE_TAG,),
    ).fetchall()
    at_work = {run for run, alive in _trainings(paths).values() if alive}
    waiting = {run.run_id for run in waiting_runs(outbox_of(paths))}
    left = [run for (run,) in running if run not in at_work | waiting]
    if not left:
        return [ok("runs", f"{len(running)} running, none left behind")]
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    return [
        fault(
            "runs",
            f"RUNNING, but their process is dead: {', '.join(left[:_SHOWN])}{more}",
            "Start the same training again, and it goes on in the same run; or end it: python -c"
            f" \"import mlflow; mlflow.MlflowClient().set_terminated('{left[0]}', 'KILLED')\""
            f" with MLFLOW_TRACKING_URI=sqlite:///{_file_of(database)}",
        )
    ]


def _searches(database: sqlite3.Connection) -> list[Finding]:
    running = database.execute(
        "SELECT t.value, count(*) FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
        " WHERE r.status = 'RUNNING' AND r.lifecycle_stage = 'active'"
        " AND t.key = ? AND t.value IN ('tune', 'trial') GROUP BY t.value",
        (STAGE_TAG,),
    ).fetchall()
    if not running:
        return []
    count = dict(running)
    return [
        note(
            "searches",
            f"{count.get('tune', 0)} studies and {count.get('trial', 0)} trials are RUNNING",
            "If no `rhobeta tune` is at work, start it again: it ends lost trials, and goes on.",
        )
    ]


def _claims(database: sqlite3.Connection) -> list[Finding]:
    claims = database.execute(
        "SELECT t.value, group_concat(r.run_uuid, ', ') FROM tags t"
        " JOIN runs r ON r.run_uuid = t.run_uuid"
        " WHERE t.key = ? AND r.lifecycle_stage = 'active' GROUP BY t.value HAVING count(*) > 1"
        " ORDER BY t.value",
        (MODEL_TAG,),
    ).fetchall()
    if not claims:
        return [ok("models", "no two runs claim the same one")]
    model, runs = claims[0]
    return [
        note(
            "models",
            f"{len(claims)} with several runs: {model[:12]} has {runs}",
            "The same training ran more than once. The newest run counts; delete the others in the"
            " UI if they are in the way.",
        )
    ]


def _trainings(paths: Paths) -> dict[Path, tuple[str | None, bool]]:
    """Folders of trainings that have not come to their end: their run, and whether one works."""
    folders = sorted(p for p in paths.checkpoints.glob("*") if p.is_dir() and p.name[0] != ".")
    return {p: (CheckpointFolder(p).run_id, _is_held(p.with_suffix(".lock"))) for p in folders}


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _unfinished(paths: Paths) -> list[Finding]:
    left = [folder for folder, (_, alive) in _trainings(paths).items() if not alive]
    if not left:
        return [ok("unfinished", "none left behind")]
    size = sum(f.stat().st_size for folder in left for f in folder.rglob("*") if f.is_file())
    age = (time.time() - min(folder.stat().st_mtime for folder in left)) / _DAY
    return [
        note(
            "unfinished",
            f"{len(left)} trainings that nobody goes on with, {size / 1e6:.1f} MB, the oldest"
            f" {age:.0f} days old, in {paths.checkpoints}",
            "With the same parameters, data and code a training goes on from there. What is not"
            " wanted any more can be deleted.",
        )
    ]


def _outbox(paths: Paths) -> list[Finding]:
    try:
        waiting = waiting_runs(outbox_of(paths))
    except RhobetaError as error:
        found, _, advice = str(error).partition("\n")
        return [fault("outbox", found, advice)]
    if not waiting:
        return [ok("outbox", "all is delivered")]
    stores = ", ".join(sorted({run.store for run in waiting}))
    return [
        note(
            "outbox",
            f"{sum(run.actions for run in waiting)} records of {len(waiting)} runs wait for"
            f" {stores}",
            "`rhobeta sync`, with MLFLOW_TRACKING_URI at that server, delivers them.",
        )
    ]
