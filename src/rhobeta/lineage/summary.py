"""What `rhobeta summary` prints: the results, and where everything is."""

from rhobeta.config.params import Params
from rhobeta.paths import Paths
from rhobeta.reporting.tables import ResultRow, result_rows, task_rows
from rhobeta.tracking.run import find_run_of_model
from rhobeta.tracking.store import open_store, without_password
from rhobeta.utils.files import read_json, require_file, sha256_of_file


def print_summary(params: Params, paths: Paths) -> None:
    """Print the tables of results, and the places of report, figures and MLflow run."""
    metrics = read_json(paths.metrics, made_by="rhobeta evaluate")
    model_sha256 = sha256_of_file(require_file(paths.model, made_by="rhobeta train"))
    store = open_store(paths, params.runtime.experiment)
    run = find_run_of_model(store, model_sha256)
    print(as_table(result_rows(metrics)))
    print()
    if tasks := task_rows(metrics):
        print(as_table(tasks))
        print()
    print(f"report     {paths.report}")
    print(f"dashboard  {paths.dashboard}")
    print(f"figures    {paths.figures}")
    print(f"model      {paths.model}")
    print(f"           SHA-256 {model_sha256}")
    if run is None:
        print(
            f"MLflow     no run of this model in {without_password(store.uri)};"
            " `dvc repro` makes one"
        )
    else:
        print(f"MLflow     run {run.run_id} in {without_password(store.uri)}; `make ui` shows it")


def as_table(rows: list[ResultRow]) -> str:
    """The rows as aligned columns of text."""
    header = ("", "model", "baseline", "verdict")
    cells = [header, *((row.name, row.value, row.baseline, row.verdict) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, 3) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "-" * len(max(lines, key=len)), *lines[1:]])
