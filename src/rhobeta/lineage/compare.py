"""What `rhobeta compare` does."""

from collections.abc import Sequence

from rhobeta.lineage.compare_select import select
from rhobeta.lineage.compare_subject import grouped_by_seed
from rhobeta.lineage.compare_table import compare_groups
from rhobeta.lineage.compare_text import as_text
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store_to_read


def compare(words: Sequence[str], paths: Paths, *, everything: bool, page: bool) -> None:
    """Print how the trainings that `words` name compare; write the page where it is asked for.

    The store is read and never changed. Raises `RhobetaError` as `select` does, before anything is
    written.
    """
    store = open_store_to_read(paths)
    subjects = select(words, store, paths)
    comparison = compare_groups(grouped_by_seed(subjects), everything=everything)
    print(as_text(comparison), flush=True)
    if page:
        from rhobeta.lineage.compare_page import write_page

        write_page(comparison, store, paths.comparison)
        print(f"\n{paths.comparison}")
