"""Put on PYTHONPATH as sitecustomize.py: notes what a stage imports and which parameters it reads.

At the end of a `rhobeta STAGE` process it writes $RHOBETA_RECORD/STAGE.json with the modules of the
package that were loaded, and the dotted paths of the parameters that were read outside the checks
of the parameters themselves.
"""

import atexit
import json
import os
import sys
from pathlib import Path

# What starts a stage, ends it and keeps others out meanwhile; no result depends on it.
_LAUNCHER = {"rhobeta"} | {
    f"rhobeta.{name}"
    for name in ("__main__", "cli", "cli.commands", "cli.parser", "exclusive", "signals")
}


def _record() -> None:
    from rhobeta.config import params
    from rhobeta.config import registration as param_registry
    from rhobeta.config import search as param_search
    from rhobeta.config import sections as param_sections
    from rhobeta.config import tuning_section as param_tune

    prefixes = {
        field.annotation: name
        for name, field in params.Params.model_fields.items()
        if name != "runtime"
    }
    modules = (params, param_registry, param_sections, param_tune, param_search)
    checks = {module.__file__ for module in modules}
    read: set[str] = set()
    plain = param_sections.Section.__getattribute__

    def noted(section: param_sections.Section, name: str) -> object:
        prefix = prefixes.get(type(section))
        if prefix is not None and name in type(section).model_fields:
            caller = sys._getframe(1).f_code
            if caller.co_filename not in checks or caller.co_name == "flatten":
                read.add(f"{prefix}.{name}")
        return plain(section, name)

    param_sections.Section.__getattribute__ = noted  # type: ignore[assignment]

    def write() -> None:
        loaded = sorted(
            name
            for name in sys.modules
            if name.partition(".")[0] == "rhobeta" and name not in _LAUNCHER
        )
        record = {"modules": loaded, "parameters": sorted(read)}
        path = Path(os.environ["RHOBETA_RECORD"]) / f"{sys.argv[1]}.json"
        path.write_text(json.dumps(record))

    atexit.register(write)


# sys.argv is not there yet when sitecustomize runs; the command line is.
_words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
if os.environ.get("RHOBETA_RECORD") and b"-m" in _words and b"rhobeta" in _words:
    _record()
