"""What is measured: pure functions and one-pass accumulators on arrays and tensors."""
