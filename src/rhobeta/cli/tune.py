"""`rhobeta tune`: the search for parameters, its results, and the choice."""

import argparse

from rhobeta.cli.arguments import at_least
from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project
from rhobeta.errors import RhobetaError


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "tune",
        "search for parameters; show the front; apply the choice",
        description="Search for parameters as the section tune of params.yaml says. A second run"
        " continues the study; several machines may share one. show: print the front, and write"
        " table and pictures to reports/tuning/. apply: write the chosen values into params.yaml.",
        examples=(
            "rhobeta tune",
            "rhobeta tune --trials 20 -S tune.study=quick -S training.epochs=5",
            "rhobeta tune show -S tune.study=quick -S training.epochs=5",
            "rhobeta tune apply --trial 12",
        ),
    )
    parser.add_argument("action", nargs="?", choices=("apply", "show"), help="instead of searching")
    parser.add_argument(
        "--trials", type=at_least(1), metavar="N", help="finished trials in all (tune.trials)"
    )
    parser.add_argument("--workers", type=at_least(1), metavar="N", help="processes (tune.workers)")
    parser.add_argument(
        "--trial", type=at_least(0), metavar="N", help="apply this trial, not the chosen one"
    )
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="use this value instead of params.yaml's, which stays as it is",
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Search, or print the study's results and apply or draw them."""
    _require_fitting(options)
    file_params, paths = open_project()
    from rhobeta.config.params import read_settings, with_values
    from rhobeta.tuning import tune

    values = read_settings(options.set_param)
    params = with_values(file_params, values, where="params.yaml with -S")
    if options.action is None:
        tune.tune(params, paths, trials=options.trials, workers=options.workers)
        return
    study, results = tune.open_results(params, paths)
    if options.trial is None:
        tune.print_results(results, params)
    if options.action == "apply":
        from rhobeta.tuning.apply import apply_choice

        apply_choice(results, file_params, paths.params, trial=options.trial)
        return
    from rhobeta.tuning.show import results_lock, write_results

    with results_lock(paths):
        written = write_results(results, study, params, paths.tuning)
    for path in written:
        print(path)


def _require_fitting(options: argparse.Namespace) -> None:
    if options.action is not None and (options.trials or options.workers):
        raise RhobetaError(
            f"--trials and --workers are for the search; `rhobeta tune {options.action}` runs none."
        )
    if options.action != "apply" and options.trial is not None:
        raise RhobetaError("--trial is for `rhobeta tune apply`: it names the trial to apply.")
