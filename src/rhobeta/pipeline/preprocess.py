"""Stage 2: draw the train, validation and test splits, and compute the data's baselines."""

import numpy as np

from rhobeta.config.params import Params, flatten
from rhobeta.config.sections import DataParams
from rhobeta.data.batches import pixels_of
from rhobeta.data.raw import RawData, read_raw
from rhobeta.data.samples import Samples, describe_shape
from rhobeta.data.splits import SplitName, hold_out, keep_classes, write_splits
from rhobeta.metrics.data_baselines import DataBaselines
from rhobeta.metrics.downstream.tasks import scorable
from rhobeta.paths import Paths
from rhobeta.utils.files import atomic_folder, write_bytes


def run(params: Params, paths: Paths) -> None:
    """Keep the chosen classes, hold out validation (and test, where there is none).

    Then compute what is reached on the test images without a model.
    """
    settings = params.data
    raw = read_raw(paths.raw_data)
    splits = _drawn(raw, settings)
    with atomic_folder(paths.splits) as folder:
        manifest = write_splits(
            folder,
            splits,
            raw_files=raw.files,
            parameters=flatten(settings, "data."),
        )
    counts = ", ".join(f"{facts['images']:,} {name}" for name, facts in manifest.splits.items())
    print(
        f"{raw.name}: {counts} {describe_shape(manifest.sample_shape)} in"
        f" {len(manifest.classes)} classes, mean pixel {manifest.mean_pixel:.7f}"
    )

    scored = scorable(params.evaluate, manifest)
    tasks = ", ".join(scored.tasks).replace("_", " ")
    print(f"computing the baselines: mean image, PCA, probe on pixels{tasks and f'; {tasks}'}")
    train, test = splits["train"], splits["test"]
    labels = (train.require_labels(), test.require_labels())
    pixels = (pixels_of(train.values), pixels_of(test.values))
    # The pixels take four times the memory of the bytes, which are on disk by now.
    del splits, train, test
    baselines = DataBaselines.of_splits(
        pixels,
        labels,
        manifest.sample_shape,
        scored,
        data_sha256=manifest.sha256,
        overwrite=True,
    )
    write_bytes(paths.baselines, baselines.to_bytes())


def _drawn(raw: RawData, settings: DataParams) -> dict[SplitName, Samples]:
    found = keep_classes(raw.train, settings.classes)
    labels = found.require_labels()
    kept = np.arange(len(found))
    if raw.test is not None:
        test = keep_classes(raw.test, settings.classes)
    else:
        kept, held = hold_out(
            labels, settings.test_fraction, seed=settings.seed, name="data.test_fraction"
        )
        test = found.take(held)
    rows, held = hold_out(
        labels[kept],
        settings.validation_fraction,
        seed=settings.seed,
        name="data.validation_fraction",
    )
    return {
        "train": found.take(kept[rows]),
        "validation": found.take(kept[held]),
        "test": test,
    }
