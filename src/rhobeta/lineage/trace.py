"""`rhobeta trace`: the chain of one thing, found and printed."""

import json

from rhobeta.config.params import Params
from rhobeta.lineage.chain import Chain
from rhobeta.lineage.missing import missing_links, notes
from rhobeta.lineage.records import Records
from rhobeta.lineage.render import as_data, as_text
from rhobeta.lineage.repository import Repository
from rhobeta.lineage.resolve import Finder
from rhobeta.lineage.studies import Studies
from rhobeta.paths import Paths
from rhobeta.tracking.store import find_store, store_uri, without_password


def trace(
    what: str, params: Params, paths: Paths, *, everything: bool = False, as_json: bool = False
) -> None:
    """Print all that hangs together with `what`; nothing is changed anywhere.

    Raises `RhobetaError` where nothing has that name or several things have it, and where the
    store cannot be read.
    """
    records, repository = Records(find_store(paths)), Repository(paths.workspace)
    finder = Finder(records, repository, Studies(paths, params.tune.storage), params.tune.study)
    end = finder.find(what)
    story = Chain(paths, records, repository, without_password(store_uri(paths))).story_of(end)
    missing = missing_links(story, repository)
    if as_json:
        print(json.dumps(as_data(story, missing, notes(story)), indent=2))
    else:
        print(as_text(story, missing, notes(story), everything=everything))
