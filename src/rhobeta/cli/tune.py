"""`rhobeta tune`: the search for parameters, its results, and the choice."""

import argparse

from rhobeta.cli.project import Commands, open_project
from rhobeta.errors import RhobetaError


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "tune",
        help="search for rho and beta, or other parameters, as params.yaml's tune: section says",
        description="Search for parameters as the section tune of params.yaml says. A second run"
        " continues the study; several machines may share one.",
        epilog="apply: write the chosen values into params.yaml. show: print the front, and write"
        " table and pictures to reports/tuning/.",
    )
    parser.add_argument("action", nargs="?", choices=("apply", "show"), help="instead of searching")
    parser.add_argument(
        "--trials", type=_at_least_one, metavar="N", help="finished trials in all (tune.trials)"
    )
    parser.add_argument(
        "--workers", type=_at_least_one, metavar="N", help="processes (tune.workers)"
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Search, or print the study's results and apply or draw them."""
    params, paths = open_project()
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
    from rhobeta.tuning.show import results_lock, write_results

    with results_lock(paths):
        written = write_results(results, study, params, paths.tuning)
    for path in written:
        print(path)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 1 or more")
    return number
