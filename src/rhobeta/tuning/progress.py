"""How far a study is, for the person who waits."""

import sys
import time
from typing import Any

from rhobeta.tuning.results import Results
from rhobeta.tuning.study import Counts

_PLAIN_LINES = 20


class Progress:
    """A bar on a terminal; elsewhere about twenty plain lines in all."""

    def __init__(self, asked: int, finished: int, what: str) -> None:
        from tqdm import tqdm

        self._asked, self._start, self._what = asked, finished, what
        self._began = time.monotonic()
        self._told = finished
        self._bar: Any = tqdm(
            total=asked,
            initial=finished,
            disable=not sys.stderr.isatty(),
            bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt}{postfix}",
            dynamic_ncols=True,
        )
        self._bar.set_description(what)

    def show(self, counts: Counts, best: str) -> None:
        """Show the counts, the best so far and the time left."""
        finished = counts.finished
        words = ", ".join(filter(None, [_states(counts), best, self._time_left(finished)]))
        if not self._bar.disable:
            self._bar.n = finished
            self._bar.set_postfix_str(words)
            return
        due = max(1, self._asked // _PLAIN_LINES)
        if finished > self._told and (finished - self._told >= due or finished >= self._asked):
            self._told = finished
            print(f"{self._what}: {finished} of {self._asked} finished, {words}", flush=True)

    def note(self, text: str) -> None:
        """Say something without tearing the bar."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _time_left(self, finished: int) -> str:
        done = finished - self._start
        if done == 0 or finished >= self._asked:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self._asked - finished)
        return f"{in_words(seconds)} left"


def best_so_far(results: Results) -> str:
    """The objectives of the trial that the rule would choose now."""
    if results.chosen is None:
        return ""
    measures = results.row(results.chosen).measures
    values = ", ".join(f"{name} {measures[name]:.4g}" for name in results.objectives)
    return f"best so far {values} (trial {results.chosen})"


def in_words(seconds: float) -> str:
    """A time in the unit that fits: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _states(counts: Counts) -> str:
    states = {"pruned": counts.pruned, "failed": counts.failed, "lost": counts.lost}
    return ", ".join(f"{number} {name}" for name, number in states.items() if number)
