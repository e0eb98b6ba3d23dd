"""What each subcommand does, by its name."""

import argparse
import gc
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.cli.parser import STAGES
from rhobeta.errors import RhobetaError

if TYPE_CHECKING:
    from rhobeta.config.params import Params
    from rhobeta.lineage.project import Project
    from rhobeta.paths import Paths

    Command = Callable[[argparse.Namespace, Params, Paths], int | None]

# Commands that read the stores, say what they found, and end.
_BRIEF = {"compare", "doctor", "summary", "sync", "trace"}
# Objects that may be garbage before Python looks for it: more than all imports make.
_MANY_OBJECTS = 1_000_000


def run_command(options: argparse.Namespace) -> int:
    """Check the parameters, then do what was asked; returns the exit status."""
    if options.command == "params" and options.schema:
        _print_schema()
        return 0
    if options.command in _BRIEF:
        # Most of their time goes into importing MLflow, a fifth of that into looking for garbage.
        gc.set_threshold(_MANY_OBJECTS)
    from rhobeta.config.params import load_params
    from rhobeta.paths import find_paths

    paths = find_paths()
    params = load_params(paths.params)
    command = _stage if options.command in STAGES else _COMMANDS[options.command]
    return command(options, params, paths) or 0


def _stage(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.utils.locks import workspace_lock
    from rhobeta.utils.signals import end_with_starter

    end_with_starter()
    with workspace_lock(paths.workspace, options.command):
        importlib.import_module(f"rhobeta.pipeline.{options.command}").run(params, paths)


def _run(options: argparse.Namespace, params: "Params", paths: "Paths") -> int:
    from rhobeta.config.presets import run_preset

    return run_preset(paths.params, paths.presets, options.preset, options.dvc_arguments)


def _params(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.config.params import flatten

    for name, value in flatten(params).items():
        print(f"{name}: {value}")


def _presets(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.config.presets import preset_names, preset_title

    for name in preset_names(paths.presets):
        print(f"{name:20}  {preset_title(paths.presets, name)}")


def _project(params: "Params", paths: "Paths") -> "Project":
    from rhobeta.lineage.project import Project

    return Project(paths, params)


def _compare(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.lineage.compare import compare

    compare(options.what, _project(params, paths), everything=options.all, page=not options.no_page)


def _summary(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.lineage.summary import print_summary

    print_summary(_project(params, paths))


def _sync(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.lineage.sync import sync
    from rhobeta.utils.locks import workspace_lock

    with workspace_lock(paths.workspace, options.command):
        sync(params, paths, quiet=options.quiet)


def _trace(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.lineage.trace import trace

    what = " ".join(options.what)
    project = _project(params, paths)
    trace(what, project, everything=options.all, as_json=options.json)


def _doctor(options: argparse.Namespace, params: "Params", paths: "Paths") -> int:
    from rhobeta.lineage.doctor import examine, has_fault, print_findings

    findings = examine(_project(params, paths))
    print_findings(findings, as_json=options.json)
    return 1 if has_fault(findings) else 0


def _tune(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.tuning import tune

    if options.action is not None and (options.trials or options.workers):
        raise RhobetaError(
            f"--trials and --workers are for the search; `rhobeta tune {options.action}` runs none."
        )
    if options.action is None:
        tune.tune(params, paths, trials=options.trials, workers=options.workers)
        return
    study, results = tune.open_results(params, paths)
    tune.print_results(results, params)
    if options.action == "apply":
        from rhobeta.tuning.apply import apply_choice

        apply_choice(results, params, paths.params)
        return
    from rhobeta.tuning.show import one_writer, write_results

    with one_writer(paths):
        written = write_results(results, study, params, paths.tuning)
    for path in written:
        print(path)


def _register(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.serving.register import register

    word = options.run or options.what
    register(_project(params, paths), word=word, new_data=options.new_data)


def _export(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.serving.export import export_onnx

    file = Path(options.onnx) if options.onnx else paths.model.with_suffix(".onnx")
    export_onnx(_project(params, paths), model=options.model, file=file)


def _encode(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.serving.encode import encode

    project = _project(params, paths)
    encode(project, Path(options.images), model=options.model, out=Path(options.out))


def _ui(options: argparse.Namespace, params: "Params", paths: "Paths") -> None:
    from rhobeta.tracking.ui import serve_ui

    serve_ui(paths, params.runtime.experiment, options.port)


def _print_schema() -> None:
    import json

    from rhobeta.config.params import Params
    from rhobeta.extensions import load_extensions

    # Of the project that this is run in, if it is run in one.
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").is_file():
            load_extensions(folder / "extensions")
            break
    print(json.dumps(Params.model_json_schema(), indent=2))


_COMMANDS: dict[str, "Command"] = {
    "compare": _compare,
    "doctor": _doctor,
    "encode": _encode,
    "export": _export,
    "params": _params,
    "presets": _presets,
    "register": _register,
    "run": _run,
    "summary": _summary,
    "sync": _sync,
    "trace": _trace,
    "tune": _tune,
    "ui": _ui,
}
