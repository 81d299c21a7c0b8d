"""Reference codecs, metrics, rate-distortion curves and reports."""
