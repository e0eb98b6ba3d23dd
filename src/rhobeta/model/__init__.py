"""The sparse autoencoder and its loss: tensors in, tensors out.

`autoencoder.Autoencoder` is the network, `loss.SparseLoss` what training minimises,
`penalties.bernoulli_kl` the KL penalty, and `serialization` the model file.
"""
