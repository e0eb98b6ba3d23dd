"""`python -m rhobeta` is the `rhobeta` command."""

from rhobeta.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
