"""The codec on the device: numpy, Pillow, click and a TFLite interpreter, nothing else."""
