"""What runs first on a device: unpacks what was sent, runs the benchmark there, and leaves nothing behind.

It comes over ssh as text and runs on whatever Python is there, so it needs the standard library alone and says in one line
what is missing. On stdin come a tar archive (its length in a line before it), and then a byte every few
seconds for as long as somebody waits: when stdin ends or falls silent, the benchmark is ended and its folder
removed. On stdout go lines of JSON.
"""

import contextlib
import importlib.util
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

SILENCE = 60  # seconds without a sign of life, after which nobody waits any more
OLDEST = (3, 10)
NEEDED = {"numpy": "numpy", "PIL": "pillow", "click": "click"}
INTERPRETERS = ("ai_edge_litert", "tflite_runtime", "tensorflow")


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def lacking():
    """What this Python lacks, as one sentence; None when it has all."""
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < OLDEST:
        return f"its Python is {version}, and 3.10 is the oldest that will do"
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if not any(importlib.util.find_spec(name) for name in INTERPRETERS):
        missing.append("ai-edge-litert")
    if not missing:
        return None
    return (
        f"its Python {version} ({sys.executable}) lacks {', '.join(missing)}; make one that has it there "
        "(python3 -m venv edgepress && edgepress/bin/pip install numpy pillow click ai-edge-litert) and add "
        "its path to the device: ssh://user@host/path/to/edgepress/bin/python"
    )


def unpack(size, folder):
    content = sys.stdin.buffer.read(size)
    if len(content) < size:
        raise EOFError("the connection ended while files were sent")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        if hasattr(tarfile, "data_filter"):  # newer Pythons warn without it
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)


def build_coder(folder):
    """Make the C entropy coder usable: the one that was sent if it loads here, else compiled here, else none."""
    check = [sys.executable, "-c", "import edgepress.runtime._coder"]
    environment = dict(os.environ, PYTHONPATH=folder)
    runtime = Path(folder, "edgepress", "runtime")
    library, source = runtime / "_coder.abi3.so", runtime / "_coder.c"
    if subprocess.call(check, env=environment, stderr=subprocess.DEVNULL) == 0:
        return
    if library.exists():
        library.unlink()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not source.exists():
        return
    include = "-I" + sysconfig.get_paths()["include"]
    flags = ["-O3", "-shared", "-fPIC", "-DPy_LIMITED_API=0x030A0000", include]
    subprocess.call([compiler, *flags, str(source), "-o", str(library)], stderr=subprocess.DEVNULL)


def wait(process):
    """Wait for the benchmark's end, or for the end of those who wait for it; False in the second case."""
    heard = time.monotonic()
    while process.poll() is None:
        if select.select([0], [], [], 0.5)[0]:
            if not os.read(0, 4096):
                return False
            heard = time.monotonic()
        if time.monotonic() - heard > SILENCE:
            return False
    return True


def end(process):
    """Kill the benchmark with all its processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stop(*_):
    raise SystemExit(1)


def main():
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, stop)
    lack = lacking()
    size = sys.stdin.buffer.readline()
    if lack or not size:  # without an archive, only the question was asked
        say(**({"error": lack} if lack else {"ready": True}))
        return
    folder = None
    try:
        folder = tempfile.mkdtemp(prefix="edgepress-")
        say(folder=folder)
        unpack(int(size), folder)
        build_coder(folder)
        run(folder)
    except (OSError, EOFError, tarfile.TarError) as error:
        say(error=f"files cannot be written there: {error}")
    finally:
        for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)  # nothing may interrupt the removal
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def run(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "edgepress.bench.devicejob", folder],
        env=dict(os.environ, PYTHONPATH=folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        if wait(process) and process.returncode:
            say(error=f"the benchmark there ended with exit code {process.returncode}")
    finally:
        end(process)


if __name__ == "__main__":
    main()
