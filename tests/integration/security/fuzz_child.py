"""Feeds readers damaged inputs, in a process of its own with little memory.

Called as `fuzz_child.py FOLDER SEED READER:FIRST:LAST ...`. Prints what became of the inputs, a
line of JSON a reader. At the first that is neither refused nor read right, leaves it in
FOLDER/input and fails. The same seed, reader and number make the same input again.
"""

import collections
import faulthandler
import json
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from fuzz_readers import Reader, readers  # noqa: E402

from rhobeta.config.params import Params  # noqa: E402
from rhobeta.data.archives import SourceError  # noqa: E402
from rhobeta.errors import RhobetaError  # noqa: E402

_SECONDS = 3.0
_MEMORY = 512 << 20
_LONGEST_MESSAGE = 100_000


class TooSlow(BaseException):
    """Not an Exception, which a reader may catch."""


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise TooSlow


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, hard))


def main(folder: Path, seed: str, orders: list[str]) -> int:
    """Returns the exit status."""
    signal.signal(signal.SIGPROF, _too_slow)
    # Made anew for every message, it would take most of the time.
    schema = Params.model_json_schema()
    Params.model_json_schema = lambda: schema
    chosen = {}
    for order in orders:
        name, first, last = order.split(":")
        (folder / name).mkdir()
        chosen[name] = readers(folder / name)[name](), range(int(first), int(last))
    _limit_memory()
    position = (folder / "position").open("w")
    for name, (reader, numbers) in chosen.items():
        start, before = time.process_time(), _peak()
        outcomes = collections.Counter({"read": 0, "refused": 0})
        for number in numbers:
            # Where the process itself ends or hangs, this tells at which input.
            position.seek(0)
            position.write(f"{name}, seed {seed}, input {number:9}")
            position.flush()
            if number % 100 == 0:
                faulthandler.dump_traceback_later(60, exit=True)
            content = reader.make(random.Random(f"{name} {seed} {number}"))
            try:
                outcomes[_outcome(reader, content)] += 1
            except BaseException:
                (folder / "input").write_bytes(content)
                print(f"{name}, seed {seed}, input {number}:\n{traceback.format_exc(-12)}")
                return 1
        outcomes["milliseconds"] = round(1000 * (time.process_time() - start))
        outcomes["grown_mib"] = (_peak() - before) >> 10
        print(json.dumps({"reader": name, **outcomes}), flush=True)
    return 0


def _outcome(reader: Reader, content: bytes) -> str:
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        answer = reader.read(content)
    except (RhobetaError, SourceError) as error:
        return "refused" if len(str(error)) < _LONGEST_MESSAGE else "refused at too great length"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    reader.check(content, answer)
    return "read"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
