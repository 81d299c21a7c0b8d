"""Installing edgepress: a wheel for every Python from 3.10 on, and the pure-Python coder where there is no compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ROUND_TRIP = """
import numpy as np
from edgepress.runtime import Codec, coder
codec = Codec.load()
pixels = np.full((40, 56, 3), 99, np.uint8)
pixels[10:30, 20:40] = 200
data = codec.encode(pixels, 60)
assert codec.decode(data).size == (56, 40)
print(coder.BACKEND, data.hex())
"""


def run(*command, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def fresh_environment(folder, wheel):
    """The Python of a new environment with this wheel; what edgepress needs comes from the one that runs the tests."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel)
    return python


def build_wheel(folder, **environment):
    """A wheel of a copy of this source, which has no objects from earlier builds."""
    source = folder / "source"
    for room in ("runtime", "bench", "train", "optimize"):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source, **environment)
    return next(folder.glob("edgepress-*.whl"))


def round_trip(python):
    # Only the dependencies come from this path: an editable edgepress there is not seen.
    return run(python, "-c", ROUND_TRIP, PYTHONPATH=sysconfig.get_path("purelib"))


def test_the_wheel_is_for_every_python_and_installs(tmp_path):
    wheel = build_wheel(tmp_path / "wheels")
    assert "-cp310-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert "edgepress/runtime/_coder.abi3.so" in archive.namelist()
    done = round_trip(fresh_environment(tmp_path / "env", wheel))
    assert done.stdout.startswith("native "), done.stdout
    assert "RuntimeWarning" not in done.stderr


def test_without_a_compiler_the_same_bytes_and_one_warning(tmp_path):
    wheel = build_wheel(tmp_path / "wheels", CC="/nonexistent/cc")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    done = round_trip(fresh_environment(tmp_path / "env", wheel))
    assert done.stdout.startswith("python "), done.stdout
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr
    assert "slower" in done.stderr
    with_compiler = round_trip(fresh_environment(tmp_path / "env2", build_wheel(tmp_path / "wheels2")))
    assert with_compiler.stdout.split()[1] == done.stdout.split()[1]
