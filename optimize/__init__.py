"""Split, rewrite, prune, quantize and package a trained autoencoder."""
