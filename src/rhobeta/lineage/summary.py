"""What `rhobeta summary` prints: the results, and where everything is."""

from rhobeta.config.renamed import current_sections
from rhobeta.errors import RhobetaError
from rhobeta.lineage.project import Project
from rhobeta.lineage.reproduction import describe_reproduction
from rhobeta.lineage.resolve import distinct, read_model_file
from rhobeta.reporting.tables import ResultRow, result_rows, task_rows
from rhobeta.utils.files import read_json, require_file


def print_summary(project: Project) -> None:
    """Print the tables of results, and the places of report, figures and MLflow run.

    Raises `RhobetaError` where there are no results, or the model's file is missing or damaged.
    """
    paths = project.paths
    metrics = current_sections(read_json(paths.details, made_by="rhobeta evaluate"))
    model = read_model_file(require_file(paths.model, made_by="rhobeta train"))
    runs = distinct(project.runs.of_model(model.sha256))
    tables = [result_rows(metrics), task_rows(metrics)]
    for table in filter(None, tables):
        print(f"{as_table(table)}\n")
    print(f"report     {paths.report}")
    print(f"dashboard  {paths.dashboard}")
    print(f"figures    {paths.figures}")
    print(f"model      {paths.model}")
    print(f"           SHA-256 {model.sha256}")
    if runs:
        print(f"MLflow     run {runs[0].id} in {project.place}; `make ui` shows it")
    else:
        print(f"MLflow     no run of this model in {project.place}; `rhobeta sync` makes one")
    for line in describe_reproduction(paths.workspace):
        print(line)
    try:
        _ = project.params
    except RhobetaError:
        print("note: params.yaml is refused; `rhobeta doctor` says why, and names the way back")


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
