"""Fixtures of a small search."""

from helpers.searching import no_storage_from_outside, prepared, project, run_here

__all__ = ["no_storage_from_outside", "prepared", "project", "run_here"]
