"""Builds the optional C entropy coder; everything else is declared in setup.cfg."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "edgepress.runtime._coder",
            ["runtime/_coder.c"],
            depends=[
                f"runtime/_coder_{part}.h"
                for part in (
                    "plan",
                    "vector",
                    "grade",
                    "contexts",
                    "lanes",
                    "lookup",
                    "model",
                    "masking",
                    "wave",
                    "quantize",
                    "predict",
                    "encode",
                    "decode",
                    "smooth",
                    "refine",
                )
            ],
            define_macros=[("Py_LIMITED_API", "0x030A0000")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            # Without a compiler the install still succeeds and the pure-Python coder is used.
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
