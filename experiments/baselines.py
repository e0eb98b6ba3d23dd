"""The baselines of the comparison at matched L0: test MSE of PCA by number of components.

python -m experiments.baselines
"""

from rhobeta.data.batches import pixels_of
from rhobeta.data.raw import read_raw
from rhobeta.metrics.baselines import PrincipalComponents, reconstruction_baselines
from rhobeta.paths import find_paths
from rhobeta.utils.files import write_json
from rhobeta.utils.threads import one_thread

COMPONENTS = (5, 10, 25, 50, 64)


@one_thread()
def main() -> None:
    """Write experiments/outcomes/baselines.json."""
    paths = find_paths()
    data = read_raw(paths.raw_data)
    if data.test is None:
        raise SystemExit("the data set has no test images")
    test = pixels_of(data.test.values)
    pca = PrincipalComponents.fit(pixels_of(data.train.values))
    mse = {
        str(c): reconstruction_baselines(pca, test, components=c, active=c, images=True)[
            "pca_clipped"
        ]
        for c in COMPONENTS
    }
    folder = paths.workspace / "experiments" / "outcomes"
    write_json(folder / "baselines.json", {"pca_clipped_mse": mse})


if __name__ == "__main__":
    main()
