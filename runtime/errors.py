"""The errors that edgepress raises for bad input; all are ValueErrors with one clear line."""


class EdgepressError(ValueError):
    """Base of all errors about input that edgepress cannot use."""


class CorruptStreamError(EdgepressError):
    """An .epx stream is damaged, truncated or not an .epx stream at all."""


class UnknownModelError(EdgepressError):
    """No package is known under the name, path or model id asked for."""


class UnsupportedImageError(EdgepressError):
    """The image has a mode, shape, dtype or size that cannot be encoded."""


class BadPackageError(EdgepressError):
    """An .epm package is damaged, inconsistent or of a newer format."""
