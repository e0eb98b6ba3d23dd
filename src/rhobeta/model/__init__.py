"""The sparse autoencoder and its loss: tensors in, tensors out.

`autoencoder.Autoencoder` is the network, `loss.SparseLoss` what training minimises,
`penalties.bernoulli_kl` the KL penalty, `products` the matrix products of layers, and
`serialization` the model file.
"""
