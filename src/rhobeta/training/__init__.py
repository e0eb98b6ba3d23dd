"""Training under Lightning.

`fit.fit` trains from parameters and arrays. `module.SparseAutoencoderModule.training_step` is what
happens in an optimiser step; `checkpoints` is how a training resumes, `processes` how several
processes are started, and `process_group` what they exchange.
"""
