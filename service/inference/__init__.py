"""Models: their manifest, the Predictor protocol, and the onnxruntime adapter."""
