"""The model for others: in the registry, as ONNX, and the codes of their own images."""
