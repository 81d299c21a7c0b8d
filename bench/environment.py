"""What the figures were measured on and with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from edgepress.runtime.coder import BACKEND
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.interpreter import choose_interpreter


def environment() -> dict[str, Any]:
    """Versions of all that takes part, and facts about the machine; values are strings, numbers or None."""
    return {
        "edgepress": _version("edgepress"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "libwebp": _library("webp"),
        "openjpeg": _library("jpg_2000"),
        "libavif": _library("avif"),
        "libtiff": _library("libtiff"),
        "jpeg_xl": _version("pillow-jxl-plugin"),
        "interpreter": _interpreter(),
        "entropy_coder": BACKEND,
        "bjontegaard": _version("bjontegaard"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "memory_mb": _memory_mb(),
    }


def cpu_model() -> str:
    """The processor's name as the system gives it; boards give their own (Raspberry Pi 5 Model B)."""
    board = _text("/proc/device-tree/model").strip("\0\n ")
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return f"{value.strip()} ({board})" if board and board != value.strip() else value.strip()
    return board or platform.processor() or platform.machine()


def _library(feature: str) -> str | None:
    return features.version(feature) if feature in features.get_supported() else None


def _interpreter() -> str | None:
    try:
        library = choose_interpreter()
    except EdgepressError:
        return None
    return f"{library.name} {library.version}"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (ValueError, OSError, AttributeError):
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
