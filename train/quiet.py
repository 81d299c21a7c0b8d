"""TensorFlow's start-up messages, which no log level reaches, kept off the terminal."""

from __future__ import annotations

import importlib
import importlib.util
import os


def import_tensorflow_quietly() -> None:
    """Import TensorFlow, if it is installed, with stderr closed to its C++ messages. Errors are raised as ever."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if importlib.util.find_spec("tensorflow") is None:
        return
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
