"""The progress of a training: a bar on a terminal or in a notebook, elsewhere about ten lines."""

import sys
from typing import Any

from rhobeta.training.steps import TrainingSteps

_PLAIN_LINES = 10


class ProgressDisplay:
    """Shows the progress of `steps` over `epochs`.

    Without tqdm, which the estimator does without, there are lines alone.
    """

    def __init__(self, steps: TrainingSteps, epochs: int) -> None:
        self._steps = steps
        self._epochs = epochs
        self._bar: Any = None
        total = epochs * steps.per_epoch
        try:
            from tqdm.auto import tqdm
        except ImportError:
            pass
        else:
            if sys.stderr.isatty() or _in_notebook():
                shown = "{desc} |{bar}| {elapsed}<{remaining} {postfix}"
                self._bar = tqdm(total=total, initial=steps.done, bar_format=shown)
        if steps.done:
            print(f"resuming after {steps.done} of {total} steps", flush=True)

    def advance(self, steps: int) -> None:
        """Advance the bar by a number of steps."""
        if self._bar is not None:
            epoch = min(self._steps.done // self._steps.per_epoch + 1, self._epochs)
            self._bar.set_description(f"epoch {epoch}/{self._epochs}")
            self._bar.set_postfix_str(_in_words(self._steps.running_metrics()))
            self._bar.update(steps)

    def end_epoch(self) -> None:
        """Print a line for the epoch that has ended, where there is no bar."""
        epoch, epochs = len(self._steps.history), self._epochs
        due = epoch in (1, epochs) or epoch % max(1, round(epochs / _PLAIN_LINES)) == 0
        if self._bar is not None or not due:
            return
        metrics = self._steps.history[-1]
        train = {k.removeprefix("train/"): v for k, v in metrics.items() if "train/" in k}
        line = f"epoch {epoch}/{epochs}: {_in_words(train)}"
        if "validation/mse" in metrics:
            line += f", validation mse {metrics['validation/mse']:.5f}"
        print(line, flush=True)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


def _in_words(metrics: dict[str, float]) -> str:
    return (
        f"loss {metrics['loss']:.5f}, mse {metrics['mse']:.5f}, penalty {metrics['penalty']:.4f},"
        f" mean activation {metrics['mean_activity']:.4f}"
    )
