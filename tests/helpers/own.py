"""The user's own data as `download` and `preprocess` take it."""

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rhobeta.data.own import OwnOptions, convert_own
from rhobeta.data.raw import RawData, describe_raw, read_raw


def read_own(folder: Path, **options: Any) -> tuple[RawData, list[str]]:
    """What the files in a folder become, by way of `data/raw`, and what is said of them."""
    into = Path(mkdtemp(dir=folder.parent))
    try:
        facts = convert_own(folder, into, OwnOptions(**options))
        names = {"class_names": facts.class_names, "feature_names": facts.feature_names}
        describe_raw(into, name="own", **names)
        # Mapped files stay readable after their names are gone.
        return read_raw(into), facts.notes
    finally:
        shutil.rmtree(into)
