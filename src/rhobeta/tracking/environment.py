"""Variables that MLflow reads from the environment, or writes there, for a while."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def environment_kept(names: Iterable[str]) -> Iterator[None]:
    """Put these variables back afterwards, whatever the body has made of them."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
