"""Measures of a model: pure functions and one-pass accumulators on arrays and tensors."""
