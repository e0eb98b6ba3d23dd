"""Stage 2: draw the train, validation and test splits, and compute the data's baselines."""

import math

from rhobeta.config.params import Params, flatten
from rhobeta.config.sections import DataParams
from rhobeta.data.batches import pixels_of
from rhobeta.data.raw import RawData, read_raw
from rhobeta.data.samples import describe_shape
from rhobeta.data.splits import Selection, SplitName, hold_out, keep_classes, write_splits
from rhobeta.metrics.data_baselines import DataBaselines, labels_of, rows_to_fit
from rhobeta.metrics.downstream.tasks import scorable
from rhobeta.metrics.probe import Representation
from rhobeta.paths import Paths
from rhobeta.utils.files import atomic_folder, write_bytes
from rhobeta.utils.threads import one_thread


@one_thread()
def run(params: Params, paths: Paths) -> None:
    """Keep the chosen classes, hold out validation (and test, where there is none).

    Then compute what is reached on the test samples without a model.
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
            class_names=raw.class_names,
            feature_names=raw.feature_names,
        )
    counts = ", ".join(f"{facts['images']:,} {name}" for name, facts in manifest.splits.items())
    classes = f"in {len(manifest.classes)} classes" if manifest.classes else "without labels"
    mean = "" if manifest.mean_pixel is None else f", mean pixel {manifest.mean_pixel:.7f}"
    print(f"{raw.name}: {counts} {describe_shape(manifest.sample_shape)} {classes}{mean}")

    scored = scorable(params.evaluate, manifest)
    features = math.prod(manifest.sample_shape)
    chosen = _fitted_rows(splits["train"], features, scored.seed)
    if len(chosen) < len(splits["train"]):
        print(
            f"note: the baselines and what evaluate fits use {len(chosen):,} of the"
            f" {len(splits['train']):,} training rows, which take 512 MiB"
        )
    train, test = chosen.in_memory(), splits["test"].in_memory()
    validation = _fitted_rows(splits["validation"], features, scored.seed).in_memory()
    labels = labels_of(train, validation, test)
    images = len(manifest.sample_shape) > 1
    computed = [f"mean {'image' if images else 'row'}", "PCA"]
    if labels is not None:
        computed.append(f"probe on {'pixels' if images else 'features'}")
    tasks = ", ".join(scored.tasks).replace("_", " ")
    print(f"computing the baselines: {', '.join(computed)}{tasks and f'; {tasks}'}")
    pixels = Representation(*(pixels_of(split.values) for split in (train, validation, test)))
    # The pixels take four times the memory of the bytes, which are on disk by now.
    del splits, chosen, train, validation, test
    baselines = DataBaselines.of_splits(
        pixels,
        labels,
        manifest.sample_shape,
        scored,
        data_sha256=manifest.sha256,
        overwrite=True,
    )
    write_bytes(paths.baselines, baselines.to_bytes())


def _fitted_rows(split: Selection, features: int, seed: int) -> Selection:
    """The rows of a split that the baselines are fitted on, or choose by."""
    rows = rows_to_fit(len(split), features, seed=seed)
    return split if rows is None else Selection(split.source, split.rows[rows])


def _drawn(raw: RawData, settings: DataParams) -> dict[SplitName, Selection]:
    kept = keep_classes(raw.train, settings.classes, raw.class_names)
    if raw.test is not None:
        test = keep_classes(raw.test, settings.classes, raw.class_names)
    else:
        kept, test = hold_out(
            kept, settings.test_fraction, seed=settings.seed, name="data.test_fraction"
        )
    train, validation = hold_out(
        kept,
        settings.validation_fraction,
        seed=settings.seed,
        name="data.validation_fraction",
    )
    return {"train": train, "validation": validation, "test": test}
