"""The layers that the optimizer knows, and their settings."""

from __future__ import annotations

_CONV = ("strides", "padding", "data_format", "dilation_rate", "activation", "use_bias", "kernel_size")
_POOL = ("pool_size", "strides", "padding", "data_format")
# Settings that both Kerases have under the same name and with the same meaning. Initializers, regularizers and
# constraints matter in training only and are left out.
SETTINGS: dict[str, tuple[str, ...]] = {
    "Conv2D": ("filters", "groups", *_CONV),
    "Conv2DTranspose": ("filters", "output_padding", *_CONV),
    "DepthwiseConv2D": ("depth_multiplier", *_CONV),
    "SeparableConv2D": ("filters", "depth_multiplier", *_CONV),
    "Dense": ("units", "activation", "use_bias"),
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Permute": ("dims",),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Activation": ("activation",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "LeakyReLU": ("negative_slope",),
    "PReLU": ("shared_axes",),
    "ELU": ("alpha",),
    "Softmax": ("axis",),
    "Add": (),
    "Subtract": (),
    "Multiply": (),
    "Average": (),
    "Maximum": (),
    "Minimum": (),
    "Concatenate": ("axis",),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GlobalMaxPooling2D": ("data_format", "keepdims"),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "Dropout": ("rate",),
    "SpatialDropout2D": ("rate",),
    "GaussianNoise": ("stddev",),
    "Rescaling": ("scale", "offset"),
    "DepthToSpace": ("block",),
    "SpaceToDepth": ("block",),
    "EdgePadding": (),
}
# Where tf_keras calls a setting otherwise: {layer: {Keras 3 name: tf_keras name}}.
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
# Layers that also have a form in int8 on the device.
SERVED = frozenset(SETTINGS) - {"Softmax", "Permute", "Average"}
# Activations that do; in int8 XNNPACK runs all but gelu and hard_silu.
ACTIVATIONS = frozenset(
    {"linear", "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "elu", "hard_silu"}
)
