"""The time from the start of the process to the written PNG, and what must not be imported on the way."""

import resource
import statistics
import subprocess
import sys

import numpy as np
import pytest

from edgepress.runtime import Codec
from edgepress.runtime.interpreter import choose_interpreter

DECODE = """
import sys
sys.argv = ["edgepress", "decode", *sys.argv[1:]]
from edgepress.runtime.main import main
"""
RUN = "main()"
LIST = """
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
# Large, and of no use to the decoding of one image.
NEEDLESS = (
    "concurrent.futures",
    "zipfile",
    "PIL.JpegImagePlugin",
    "importlib.metadata",
    "rich",
    "scipy",
    "matplotlib",
    "skimage",
    "pytest",
    "tensorflow",
)
BAR = 1.5  # times the imports of numpy and PIL.Image, and the interpreter's own beside
REPEATS = 15


@pytest.fixture
def cpu_seconds(started):
    """`cpu_seconds(*arguments)`: processor time of a Python process, less disturbed by other work than the clock's."""

    def measure(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure


def test_decoding_imports_only_what_it_needs(tiny_codec, tiny_package, astronaut, tmp_path):
    stream = tmp_path / "a.epx"
    stream.write_bytes(tiny_codec.encode(np.ascontiguousarray(astronaut[:128, :128])))
    arguments = [stream, "-o", tmp_path / "a.png", "-m", tiny_package]
    result = subprocess.run(
        [sys.executable, "-c", DECODE + LIST, *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == 0 and (tmp_path / "a.png").stat().st_size > 1000
    modules = set(result.stderr.split())
    assert {"numpy", "PIL.Image", "edgepress.runtime.codec"} <= modules  # or the next line could not fail
    assert not modules.intersection(NEEDLESS)


@pytest.mark.slow  # a timing
def test_a_cold_start_is_hardly_more_than_its_imports(cpu_seconds, astronaut, tmp_path):
    stream = tmp_path / "a.epx"
    stream.write_bytes(Codec.load().encode(np.ascontiguousarray(astronaut[:128, :128])))
    imports = "import numpy, PIL.Image"
    commands = {
        "imports": ("-c", imports),
        "with the interpreter's": ("-c", f"{imports}, {choose_interpreter().interpreter.__module__}"),
        "decode": ("-c", DECODE + RUN, stream, "-o", tmp_path / "a.png"),
    }
    for command in commands.values():
        cpu_seconds(*command)  # compiles the modules
    times = {name: [] for name in commands}
    for _ in range(REPEATS):  # interleaved: the machine's moods meet all of them
        for name, command in commands.items():
            times[name].append(cpu_seconds(*command))
    median = {name: statistics.median(found) for name, found in times.items()}
    own = median["with the interpreter's"] - median["imports"]
    print(f"{(median['decode'] - own) / median['imports']:.2f}", median)
    assert median["decode"] - own <= BAR * median["imports"], median
