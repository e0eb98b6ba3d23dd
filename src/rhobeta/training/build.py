"""The parameters that a model depends on."""

from typing import Any

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEARCHED
from rhobeta.data.splits import Manifest


def hparams_of(params: Params, manifest: Manifest) -> dict[str, Any]:
    """The parameters that a model depends on, by dotted path; those of data as they were drawn."""
    hparams = dict(manifest.parameters)
    for section in SEARCHED:
        hparams |= flatten(getattr(params, section), f"{section}.")
    return hparams
