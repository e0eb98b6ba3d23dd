"""What is compared: trainings, in one group where they differ in seeds alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, product
from string import ascii_uppercase

SEEDS = ("training.seed", "data.seed")

# Parameters of these sections change no number that is compared.
WITHOUT_EFFECT = ("runtime.", "visualize.", "tune.")


@dataclass(frozen=True)
class Subject:
    """One training: its MLflow run, or a model file that has none."""

    name: str
    """The run's name; for a model file its path."""
    parameters: Mapping[str, str]
    """By dotted path, as MLflow has them."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each, under MLflow's names."""
    run_id: str = ""
    """Empty for a model file without a run."""
    status: str = "FINISHED"
    experiment: str = ""
    """DVC's experiment name."""
    commit: str = ""
    dirty: bool = False
    data_sha256: str = ""
    test_sha256: str = ""
    """Digest of the test split that its metrics are of; empty for one that was not evaluated."""
    model_sha256: str = ""
    model: bytes | None = None
    """The model file's content, where the subject was read from it."""

    @property
    def seeds(self) -> tuple[str, ...]:
        """What `SEEDS` are."""
        return tuple(self.parameters.get(path, "") for path in SEEDS)


@dataclass(frozen=True)
class Group:
    """A column of the comparison: one training, or several that differ in seeds alone."""

    letter: str
    members: tuple[Subject, ...]

    @property
    def heading(self) -> str:
        """The letter, with the number of trainings where there are several."""
        n = len(self.members)
        return self.letter if n == 1 else f"{self.letter} (n={n})"


def grouped_by_seed(subjects: Sequence[Subject]) -> list[Group]:
    """Subjects that differ in `training.seed` and `data.seed` alone, together; in order.

    All other parameters must be equal, but for those of `WITHOUT_EFFECT`; and the data must be the
    same wherever `data.seed` is. Two trainings with the same seeds tell nothing about the spread
    over seeds, so the second of them stands in a column of its own.
    """
    columns: list[list[Subject]] = []
    for subject in subjects:
        fitting = (column for column in columns if _belongs(subject, column))
        found = next(fitting, None)
        if found is None:
            columns.append([subject])
        else:
            found.append(subject)
    return [
        Group(letter, tuple(members)) for letter, members in zip(_letters(), columns, strict=False)
    ]


def _belongs(subject: Subject, column: Sequence[Subject]) -> bool:
    return _without_seeds(subject) == _without_seeds(column[0]) and all(
        subject.seeds != other.seeds
        and (subject.seeds[1] != other.seeds[1] or subject.data_sha256 == other.data_sha256)
        for other in column
    )


def _without_seeds(subject: Subject) -> dict[str, str]:
    return {
        path: value
        for path, value in subject.parameters.items()
        if path not in SEEDS and not path.startswith(WITHOUT_EFFECT)
    }


def _letters() -> "map[str]":
    # A to Z, AA to ZZ, and so on.
    words = (word for length in count(1) for word in product(ascii_uppercase, repeat=length))
    return map("".join, words)
