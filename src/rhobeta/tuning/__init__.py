"""Optuna: search space, study, workers, the choice on the front, and its pictures."""
