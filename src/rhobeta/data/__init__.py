"""Data sets: what they consist of, how their bytes are obtained and checked, how they are split."""
