"""What figures were measured on is said: of the machine, of every library, and to pytest-benchmark."""

import json
import subprocess
import sys
from pathlib import Path

import PIL

from edgepress.bench import environment as module
from edgepress.bench.environment import cpu_model, environment


def test_every_fact_is_a_plain_value():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["pillow"] == PIL.__version__ and found["cores"] >= 1 and found["cpu"]
    assert found["entropy_coder"] in ("native", "python")


def test_a_board_is_named(monkeypatch):
    files = {
        "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
        "/proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.5\n",
    }
    monkeypatch.setattr(module, "_text", lambda path: files.get(path, ""))
    assert cpu_model() == "Raspberry Pi 4 Model B Rev 1.5"
    files["/proc/cpuinfo"] = "model name\t: ARMv7 Processor rev 4 (v7l)\n"
    assert cpu_model() == "ARMv7 Processor rev 4 (v7l) (Raspberry Pi 4 Model B Rev 1.5)"


def test_benchmarks_carry_it(tmp_path):
    (tmp_path / "conftest.py").write_text(
        (Path(__file__).parents[1] / "benchmarks" / "conftest.py").read_text()
    )
    (tmp_path / "test_it.py").write_text("def test_it(benchmark):\n    benchmark.pedantic(abs, (1,))\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    out = tmp_path / "out.json"
    options = ["-q", "-p", "no:cacheprovider", f"--benchmark-json={out}", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pytest", *options], cwd=tmp_path, check=True, capture_output=True)
    assert json.loads(out.read_text())["machine_info"]["edgepress"]["pillow"] == PIL.__version__
