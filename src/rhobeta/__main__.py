"""`python -m rhobeta` is the `rhobeta` command."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # As `python -P`: nothing more is imported from the current folder.
        del sys.path[0]
    from rhobeta.cli import main

    raise SystemExit(main())
