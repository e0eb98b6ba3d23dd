"""Data sets: what they consist of, how their bytes are obtained and checked and checked, and how they are split."""
