"""Errors of the optimizer: models, recipes or data that it cannot use."""

from edgepress.runtime.errors import EdgepressError


class UnsupportedModelError(EdgepressError):
    """The model, or one of its layers, cannot be served; the message says which, why, and what to do instead."""


class ConversionError(EdgepressError):
    """TensorFlow's converter failed, or what it made does not behave like the model it came from."""


class RecipeError(EdgepressError):
    """A recipe has an unknown key or a value out of range."""
