"""The Python API: an estimator after scikit-learn's rules, over the pipeline's own training.

`autoencoder_estimator.SparseAutoencoder` is fitted to arrays, `loading.load` opens what the
pipeline made. Both are names of `rhobeta`.
"""
