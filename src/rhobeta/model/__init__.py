"""The sparse autoencoder, its penalty and objective: tensors in, tensors out."""
