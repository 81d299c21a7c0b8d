"""Which entropy coder runs: the C one where it was built, the Python one otherwise or on request."""

import os
import subprocess
import sys

from edgepress.runtime import coder


def run_python(code: str, choice: str = "") -> subprocess.CompletedProcess:
    environment = {**os.environ, "EDGEPRESS_CODER": choice}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_environment_chooses_the_backend():
    show = "from edgepress.runtime import coder; print(coder.BACKEND)"
    assert run_python(show, "python").stdout.strip() == "python"
    refused = run_python(show, "fortran")
    assert refused.returncode and "EDGEPRESS_CODER must be native or python" in refused.stderr
    if coder.BACKEND == "native":
        assert run_python(show, "native").stdout.strip() == "native"


def test_without_the_extension_one_warning_and_python():
    hidden = (
        "import sys; sys.modules['edgepress.runtime._coder'] = None\n"
        "from edgepress.runtime import coder\n"
        "import importlib; importlib.import_module('edgepress.runtime.coder'); print(coder.BACKEND)"
    )
    done = run_python(hidden)
    assert done.stdout.strip() == "python" and done.stderr.count("RuntimeWarning") == 1, done.stderr
    refused = run_python(hidden, "native")
    assert refused.returncode and "was not built" in refused.stderr
