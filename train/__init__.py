"""Data, models, losses and the training loop (Keras 3)."""
