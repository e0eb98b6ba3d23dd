"""`rhobeta doctor`: what is wrong with environment, project and store, and what to do."""

import getpass
import json
import os
import re
import stat
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from rhobeta.config.presets import dvc_environment
from rhobeta.errors import RhobetaError
from rhobeta.lineage.project import Project
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code
from rhobeta.tracking.store import places_before
from rhobeta.utils.cpu import reason_for_other_bytes
from rhobeta.utils.terminal import one_line

_DVC_SECONDS = 60
_DAY = 86_400
_SHOWN = 5
_MOST_MODELS = 1000
_COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "pillow", "matplotlib")
"""Packages whose versions decide the bytes of results."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: `ok`, a `note` that is worth knowing, or a `FAULT` to repair."""

    level: Literal["ok", "note", "FAULT"]
    check: str
    """What was checked, in a word or two."""
    found: str
    advice: str = ""
    """What to do; empty where there is nothing to do."""


def examine(project: Project) -> list[Finding]:
    """All checks, in order. They change nothing but addresses of a project that was moved."""
    paths = project.paths
    return [
        _packages(paths.workspace),
        _environment(paths.workspace),
        _lightning(),
        _bytes(project),
        _user(),
        _git(paths.workspace),
        _params(project),
        _line_endings(paths.workspace),
        _lock(paths.workspace),
        _site_cache(paths.workspace),
        _place(paths),
        *_store(project),
        _artifacts(project),
        _privacy(paths),
        _unfinished(paths),
    ]


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Print a line for each finding and its advice below, or all as JSON."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        print(f"{finding.level:5}  {finding.check}: {one_line(finding.found)}")
        for line in finding.advice.splitlines():
            print(f"         {line}")
    faults = sum(finding.level == "FAULT" for finding in findings)
    print(f"{faults} faults" if faults else "no faults")


def has_fault(findings: list[Finding]) -> bool:
    """Whether anything needs repair."""
    return any(finding.level == "FAULT" for finding in findings)


def _packages(workspace: Path) -> Finding:
    """What `pip check` does, and whether pyproject.toml is satisfied, which may be newer."""
    installed = {
        _name(d["Name"]): d for d in reversed([m.metadata for m in distributions()]) if d["Name"]
    }
    versions = {name: metadata["Version"] for name, metadata in installed.items()}
    wanted = [("the project", text) for text in _dependencies(workspace / "pyproject.toml")]
    for metadata in installed.values():
        texts = metadata.get_all("Requires-Dist") or []
        wanted += [(metadata["Name"], text) for text in texts]
    unmet = []
    for user, text in wanted:
        asked = Requirement(text)
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        found = versions.get(_name(asked.name))
        if found is None or not asked.specifier.contains(found, prereleases=True):
            here = "nothing" if found is None else f"{asked.name} {found}"
            unmet.append(f"{user} needs {asked.name}{asked.specifier}, found {here}")
    if not unmet:
        return Finding("ok", "packages", f"{len(installed)} packages fit together")
    more = f", and {len(unmet) - _SHOWN} more" if len(unmet) > _SHOWN else ""
    return Finding(
        "FAULT",
        "packages",
        "; ".join(unmet[:_SHOWN]) + more,
        "`make setup` installs the versions of requirements.lock.",
    )


def _dependencies(file: Path) -> list[str]:
    if not file.is_file():
        return []
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    pipeline = project.get("optional-dependencies", {}).get("pipeline", [])
    return [*project.get("dependencies", []), *pipeline]


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _environment(workspace: Path) -> Finding:
    """Whether the commands of .venv start its own Python: pip writes its path into them."""
    folder = workspace / ".venv"
    script = folder / "bin" / "dvc"
    head = script.read_bytes()[:500].decode(errors="replace") if script.is_file() else ""
    found = re.search(r"(/[^\n\"']*)/bin/python", head)
    if found is None:
        return Finding("ok", "environment", sys.prefix)
    if Path(found[1]).is_dir() and folder.samefile(found[1]):
        return Finding("ok", "environment", str(folder))
    text = f"the commands of {folder} start Python in {found[1]}: it was moved or copied"
    return Finding("FAULT", "environment", text, "make clean-env setup")


def _lightning() -> Finding:
    try:
        found = version("lightning")
    except PackageNotFoundError:
        return Finding("ok", "lightning", "pytorch_lightning alone")
    if found in ("2.6.2", "2.6.3"):
        return Finding(
            "FAULT",
            "lightning",
            f"lightning {found} is malware (GHSA-w37p-236h-pfx3)",
            "Uninstall it, change every secret that this machine could read, and make the"
            " environment again (`rm -r .venv && make setup`).",
        )
    return Finding(
        "FAULT",
        "lightning",
        f"lightning {found} is installed beside pytorch_lightning; their classes do not mix",
        "pip uninstall lightning",
    )


def _bytes(project: Project) -> Finding:
    """Whether results of this machine have the same bytes as those of others."""
    try:
        cpu: str = project.params.runtime.cpu
    except RhobetaError:
        # Another finding says so.
        cpu = "portable"
    reason = reason_for_other_bytes(cpu)
    other = _other_versions(project.paths.workspace)
    if reason is None and other:
        reason = f"{', '.join(other)} in place of the versions of requirements.lock"
    if reason is None:
        found = "this CPU and these packages give the bytes that are committed"
        return Finding("ok", "reproducibility", found)
    return Finding(
        "note",
        "reproducibility",
        f"results have other bytes than those that are committed: {reason}",
        "docs/reproducibility.md says what they depend on.",
    )


def _other_versions(workspace: Path) -> list[str]:
    """Libraries that compute, with the versions here, as far as requirements.lock has others."""
    lock = workspace / "requirements.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    # A package may have a line for each version of Python.
    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*", text, re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    pinned = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }
    found = []
    for name in _COMPUTING:
        try:
            here = version(name)
        except PackageNotFoundError:
            continue
        # A build for CPUs alone, such as 2.15.0+cpu, is another one too.
        if name in pinned and here != pinned[name]:
            found.append(f"{name} {here}")
    return found


def _git(workspace: Path) -> Finding:
    try:
        code = read_code(workspace)
    except RhobetaError as error:
        return _fault("git", error)
    changes = ", with uncommitted changes" if code.dirty else ""
    return Finding("ok", "git", f"{code.commit[:12]}{changes}")


def _params(project: Project) -> Finding:
    try:
        _ = project.params
    except RhobetaError as error:
        advice = (
            "`git diff params.yaml` shows what was changed; `git checkout -- params.yaml` brings"
            " the committed file back."
        )
        return Finding("FAULT", "parameters", " ".join(str(error).split()), advice)
    return Finding("ok", "parameters", "params.yaml is valid")


def _user() -> Finding:
    """Whether the user has a name, which DVC asks for."""
    try:
        return Finding("ok", "user", getpass.getuser())
    except (KeyError, OSError):
        found = f"the user id {os.getuid()} has no name, without which `dvc` fails"
        return Finding("FAULT", "user", found, f"export LOGNAME=user{os.getuid()}")


def _line_endings(workspace: Path) -> Finding:
    """Whether files end their lines as git keeps them: DVC hashes the bytes."""
    command = ["git", "--no-optional-locks", "ls-files", "--eol", "--", ":(exclude)params.yaml"]
    try:
        done = subprocess.run(command, cwd=workspace, capture_output=True, check=False)
    except FileNotFoundError:
        return Finding("ok", "line endings", "not known without git")
    lines = [line for line in os.fsdecode(done.stdout).splitlines() if line[:4] == "i/lf"]
    other = [line.partition("\t")[2] for line in lines if line.split()[1] in ("w/crlf", "w/mixed")]
    if not other:
        return Finding("ok", "line endings", "those of the repository")
    return Finding(
        "FAULT",
        "line endings",
        f"{len(other)} files have other line endings than in the repository, such as {other[0]}",
        "Commit or stash your changes, then: git rm -r --cached --quiet . && git reset --hard",
    )


def _lock(workspace: Path) -> Finding:
    """Whether `dvc repro` would run a stage, also where the data was not pulled."""
    if not (workspace / ".dvc").is_dir():
        return Finding("FAULT", "dvc.lock", f"{workspace} is not a DVC repository", "dvc init")
    command = [sys.executable, "-P", "-m", "dvc", "repro", "--allow-missing", "--dry"]
    try:
        done = subprocess.run(
            command, cwd=workspace, capture_output=True, text=True, check=False,
            timeout=_DVC_SECONDS, env=dvc_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding("note", "dvc.lock", "DVC gave no answer; another `dvc` may be running")
    blocked = re.search(r"failed to reproduce '(\w+)'", done.stderr)
    if blocked is not None:
        found = f"not current from {blocked[1]} on"
        return Finding("note", "dvc.lock", found, "dvc pull, then dvc repro")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[0]
        file = "dvc.yaml" if "dvc.yaml" in reason else "dvc.lock"
        advice = f"`git checkout {file}` restores a damaged one; then `dvc repro`"
        return Finding("FAULT", "dvc.lock", f"DVC fails: {reason}", advice)
    stages = re.findall(r"^Running stage '(\w+)'", done.stdout, re.MULTILINE)
    if not stages:
        return Finding("ok", "dvc.lock", "current")
    return Finding("note", "dvc.lock", f"not current: {', '.join(stages)} would run", "dvc repro")


def _site_cache(workspace: Path) -> Finding:
    """Whether other users can write where DVC keeps values that it unpickles."""
    from dvc.config import Config  # type: ignore[import-untyped]
    from dvc.dirs import site_cache_dir  # type: ignore[import-untyped]

    try:
        asked = Config(str(workspace / ".dvc"))["core"].get("site_cache_dir")
    except Exception as error:
        return Finding("FAULT", "DVC's site cache", f"DVC refuses its configuration ({error})")
    folder = Path(site_cache_dir(asked), "repo").absolute()
    if not _open_to_others(folder):
        return Finding("ok", "DVC's site cache", f"{folder} is closed to other users")
    return Finding(
        "FAULT",
        "DVC's site cache",
        f"every user of this machine can write to {folder}, from where DVC runs code",
        "`make setup` names a private folder in .dvc/config.local. Or set DVC_SITE_CACHE_DIR to a"
        " folder in one of mode 0700.",
    )


def _open_to_others(folder: Path) -> bool:
    """Whether other users can write to the folder, or put another one in its place."""
    for path in (*reversed(folder.parents), folder):
        # DVC makes one that is missing writable for everyone.
        mode = path.stat().st_mode if path.exists() else stat.S_IWOTH | stat.S_IXOTH
        if not mode & stat.S_IXOTH:
            return False
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return True
    return False


def _place(paths: Paths) -> Finding:
    """Whether the project was moved or copied since its runs were recorded."""
    try:
        before = places_before(paths)
    except RhobetaError as error:
        return _fault("place", error)
    if not before:
        return Finding("ok", "place", f"runs were recorded in {paths.store_root}")
    text = f"runs were recorded in {', '.join(sorted(before))}: the project was moved or copied"
    advice = f"The addresses of their files lead to {paths.store} from now on."
    return Finding("note", "place", text, advice)


def _artifacts(project: Project) -> Finding:
    """Whether the files of packaged models are there, as far as they are on this machine."""
    try:
        store = project.runs.store
    except RhobetaError as error:
        return _fault("artifacts", error)
    if store is None:
        return Finding("ok", "artifacts", "none")
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    models = store.client.search_logged_models(experiments, max_results=_MOST_MODELS)
    folders = [store.folder_at(model.artifact_location) for model in models]
    gone = [str(folder) for folder in folders if folder is not None and not folder.is_dir()]
    if not gone:
        return Finding("ok", "artifacts", f"those of {len(folders)} packaged models are there")
    return Finding(
        "FAULT",
        "artifacts",
        f"{len(gone)} of {len(folders)} packaged models are missing, such as {gone[0]}",
        "If the project was moved, they may be in mlruns/artifacts where it was: copy that folder"
        f" into {project.paths.store}. Or train again.",
    )


def _privacy(paths: Paths) -> Finding:
    """Whether other users can read what may hold secrets."""
    names = ("mlflow.db", "optuna.db", "artifacts", "checkpoints", "pending")
    closed = paths.store.is_dir() and not paths.store.stat().st_mode & 0o007
    found = [name for name in names if (paths.store / name).exists()]
    open_to = [name for name in found if (paths.store / name).stat().st_mode & 0o007]
    if closed or not open_to:
        return Finding("ok", "privacy", f"other users cannot read the runs in {paths.store}")
    text = f"other users can read {', '.join(open_to)} in {paths.store}"
    return Finding("note", "privacy", text, f"chmod -R o-rwx {paths.store}")


def _store(project: Project) -> list[Finding]:
    """Whether the MLflow store answers in a version that is known, and its unfinished runs."""
    try:
        runs = project.runs
        running = runs.running()
    except RhobetaError as error:
        return [_fault("MLflow store", error)]
    if runs.store is None:
        return [Finding("ok", "MLflow store", f"none at {project.place}; training makes it")]
    found = [Finding("ok", "MLflow store", f"{project.place} answers")]
    if not running:
        return [*found, Finding("ok", "runs", "none is RUNNING")]
    advice = (
        "If no process works on them, start the same training or search again: it resumes. Or end"
        f" one: mlflow.MlflowClient().set_terminated('{running[-1].id}', 'KILLED')"
    )
    oldest = f"the oldest {running[-1].id} since {running[-1].started}"
    return [*found, Finding("note", "runs", f"{len(running)} are RUNNING, {oldest}", advice)]


def _unfinished(paths: Paths) -> Finding:
    left = [p for p in paths.checkpoints.glob("*") if p.is_dir() and p.name[0] != "."]
    if not left:
        return Finding("ok", "unfinished", "none")
    size = sum(f.stat().st_size for folder in left for f in folder.rglob("*") if f.is_file())
    days = (time.time() - min(folder.stat().st_mtime for folder in left)) / _DAY
    return Finding(
        "note",
        "unfinished",
        f"{len(left)} trainings in {paths.checkpoints}, {size / 1e6:.1f} MB, the oldest"
        f" {days:.0f} days old",
        "A training with the same parameters, data and code resumes there. Delete what you do not"
        " need, unless it is being trained now.",
    )


def _fault(check: str, error: RhobetaError) -> Finding:
    found, _, advice = str(error).partition("\n")
    return Finding("FAULT", check, found, advice)
