"""Reproductions of published results, as a DVC pipeline of its own."""
