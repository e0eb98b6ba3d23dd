"""MLflow: the store, the identity of runs, and what each stage adds to the run of its model."""
