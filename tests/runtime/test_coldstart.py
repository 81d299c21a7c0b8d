"""The time from the start of the process to the written PNG, and what must not be imported on the way."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from edgepress.runtime.interpreter import choose_interpreter

DECODE = """
import sys
sys.argv = ["edgepress", "decode", *sys.argv[1:]]
from edgepress.runtime.main import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
# Large, and of no use to the decoding of one image.
NEEDLESS = (
    "concurrent.futures",
    "importlib.metadata",
    "rich",
    "scipy",
    "matplotlib",
    "skimage",
    "pytest",
    "tensorflow",
)
BAR = 1.5  # times the imports of numpy and PIL.Image, and the interpreter's own beside


def cpu_seconds(cache, *arguments):
    """Processor time of a Python process: unlike the clock's, hardly disturbed by what else the machine does.

    Compiled modules are kept in `cache`, so that none is compiled anew at every start, as after an installation.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture
def stream(tiny_codec, astronaut, tmp_path):
    path = tmp_path / "a.epx"
    path.write_bytes(tiny_codec.encode(np.ascontiguousarray(astronaut[:128, :128])))
    return path


def test_decoding_imports_only_what_it_needs(stream, tiny_package, tmp_path):
    arguments = [stream, "-o", tmp_path / "a.png", "-m", tiny_package]
    result = subprocess.run(
        [sys.executable, "-c", DECODE, *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == 0 and (tmp_path / "a.png").stat().st_size > 1000
    modules = set(result.stderr.split())
    assert {"numpy", "PIL.Image", "edgepress.runtime.codec"} <= modules  # or the next line could not fail
    assert not modules.intersection(NEEDLESS)


@pytest.mark.slow  # a timing, and near its limit
def test_a_cold_start_is_hardly_more_than_its_imports(stream, tiny_package, tmp_path):
    library = choose_interpreter().interpreter.__module__
    base, with_library, decode = [], [], []
    for _ in range(7):  # interleaved; the best of each
        base.append(cpu_seconds(tmp_path / "cache", "-c", "import numpy, PIL.Image"))
        with_library.append(cpu_seconds(tmp_path / "cache", "-c", f"import numpy, PIL.Image, {library}"))
        decode.append(
            cpu_seconds(
                tmp_path / "cache", "-c", DECODE, stream, "-o", tmp_path / "a.png", "-m", tiny_package
            )
        )
    own = max(0.0, min(with_library) - min(base))
    # A fifth more than the bar: times of processes on a busy machine.
    assert min(decode) < 1.2 * (BAR * min(base) + own), (min(decode), min(base), own)
