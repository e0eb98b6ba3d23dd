"""Training under Lightning: the module, its images, its callbacks."""
