"""The disk is full in each stage: an error that leaves nothing, and with space the stage works."""

from pathlib import Path

import pytest

from helpers import STAGES, StartAfter
from helpers.injected import fill, mounted, refused, succeeds
from rhobeta.paths import Paths


@pytest.mark.parametrize(
    "stage",
    [*STAGES[:2], *(pytest.param(stage, marks=pytest.mark.slow) for stage in STAGES[2:])],
)
def test_full_disk_is_explained_and_leaves_nothing(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    output = {
        "download": paths.raw_data,
        "preprocess": paths.splits,
        "train": paths.model,
        "evaluate": paths.evaluation,
        "visualize": paths.figures,
    }[stage]
    if stage != "download":
        start_after(STAGES[STAGES.index(stage) - 1])
    disk = paths.workspace.parent / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        _move_onto(disk, output.parent)
        filler = fill(disk)
        refused(capsys, stage, "disk is full", "Free some space")
        assert not output.exists()
        assert not list(disk.rglob("*.part"))
        filler.unlink()
        succeeds(stage)
        assert output.exists()


def _move_onto(disk: Path, folder: Path) -> None:
    # What the stage reads stays where it was, behind links; what it writes goes to the small disk.
    target = disk / folder.name
    if folder.exists():
        kept = folder.with_name(f"{folder.name}-kept")
        folder.rename(kept)
        target.mkdir()
        for child in kept.iterdir():
            (target / child.name).symlink_to(child)
    else:
        target.mkdir()
    folder.symlink_to(target)
