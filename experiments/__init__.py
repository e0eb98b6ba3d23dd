"""Reproductions of published results, as a DVC pipeline of its own."""

from rhobeta.utils.cpu import fix_instructions

# Before a module of this package loads a numerical library: as the `rhobeta` command does.
fix_instructions()
