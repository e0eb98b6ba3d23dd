"""Data sets: what they consist of, how their bytes are had and checked, and how they are split."""
