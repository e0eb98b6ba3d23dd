"""Training: its steps, and how they run under Lightning.

`steps.TrainingSteps.take` is what happens in an optimiser step, whose gradient `closed_form` has.
`fit.fit` trains from parameters and arrays under Lightning; `checkpoints` is how a training
resumes, `processes` how several processes are started, and `process_group` what they exchange.
"""
