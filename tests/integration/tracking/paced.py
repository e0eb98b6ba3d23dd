"""Put on PYTHONPATH as sitecustomize.py: a training that waits, at epochs that are asked for.

Before it notes epoch N, where N is among those in $RHOBETA_PAUSES, a `rhobeta` process writes the
file `at-N` into $RHOBETA_PACE and waits there for the file `go-N`. What it notes is sent at once,
and delivery is tried again every half second.
"""

import os
import time
from pathlib import Path
from typing import Any


def _pace(folder: Path, pauses: set[int]) -> None:
    from rhobeta.tracking import run

    run._RETRY_SECONDS = 0.5
    plain = run.Run.buffer_metrics

    def noted(tracked: run.Run, metrics: Any, *, step: int) -> None:
        if step in pauses:
            (folder / f"at-{step}").touch()
            while not (folder / f"go-{step}").exists():
                time.sleep(0.02)
        plain(tracked, metrics, step=step)
        tracked.flush()

    run.Run.buffer_metrics = noted  # type: ignore[method-assign]


if os.environ.get("RHOBETA_PACE"):
    _pace(
        Path(os.environ["RHOBETA_PACE"]), {int(n) for n in os.environ["RHOBETA_PAUSES"].split(",")}
    )
