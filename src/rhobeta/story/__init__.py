"""Which data, code and parameters made a model, and which run was it: found, shown, restored."""
