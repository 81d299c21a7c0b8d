"""Times come from each contender's own process: warm, in turns, the same alone or in company; so does its memory."""

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pytest
import skimage.data

from edgepress.bench import host, memory
from edgepress.bench.energy import EnergyMeter
from edgepress.bench.host import Host
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pillowcodecs import Jpeg, Png
from edgepress.bench.timing import time_contenders
from edgepress.runtime import EdgepressError

IMAGES = [
    BenchImage.from_array("astronaut", skimage.data.astronaut()[:192, 150:342]),
    BenchImage.from_array("coffee", skimage.data.coffee()[100:276, 200:400]),
]

CONTENDERS = """
import os, time
import numpy as np
from edgepress.bench.pillowcodecs import Jpeg

class Sleeper(Jpeg):
    "Takes 3 ms to encode and 1 ms to decode; the very first call takes 50 ms more."
    name = "sleeper"
    calls = 0

    def encode(self, rgb, quality):
        time.sleep(0.003 if Sleeper.calls else 0.053)
        Sleeper.calls += 1
        return b"x"

    def decode(self, data):
        time.sleep(0.001)
        return np.zeros((1, 1, 3), np.uint8)

class Glutton(Sleeper):
    name = "glutton"

    def encode(self, rgb, quality):
        return len(np.ones(40_000_000, np.uint8).tobytes()).to_bytes(8, "big")

class Broken(Sleeper):
    name = "broken"

    def encode(self, rgb, quality):
        if quality > 50:
            os._exit(3)
        raise ValueError("cannot do it\\nreally")
"""


@pytest.fixture
def contenders(tmp_path, monkeypatch):
    (tmp_path / "contenders_of_test.py").write_text(CONTENDERS)
    monkeypatch.syspath_prepend(tmp_path)
    import contenders_of_test

    yield contenders_of_test
    sys.modules.pop("contenders_of_test")


def test_times_are_medians_of_warm_runs(contenders):
    counts = []
    entries = [(contenders.Sleeper(), 50), (Jpeg(), 50), (Jpeg(), 50)]
    found = time_contenders(entries, IMAGES, 5, counts.append)
    assert set(found) == {("sleeper", 50), ("jpeg", 50)} and len(counts) == 2 * 2 * 5
    timing = found["sleeper", 50]
    assert 3 <= timing.encode_ms < 15 and 1 <= timing.decode_ms < timing.encode_ms
    assert timing.round_trip_ms == timing.encode_ms + timing.decode_ms
    assert timing.encode_mps == pytest.approx(timing.megapixels / timing.encode_ms * 1e3)
    assert timing.encode_spread_ms >= 0
    assert (timing.energy_mj is None) == (EnergyMeter().reason is not None)


def test_a_burst_is_short_and_has_at_least_one_run(monkeypatch):
    worker = host.Worker()
    runs = []
    monkeypatch.setattr(worker, "_run", lambda quality: runs.append(quality) or (0.002, 0.001))
    monkeypatch.setattr(host, "WARM_SECONDS", 0)
    visit = worker.visit(7)
    assert runs == [7] * (1 + host.BURST_RUNS) and (visit.encode, visit.decode) == (0.002, 0.001)
    monkeypatch.setattr(host, "BURST_SECONDS", 0)
    runs.clear()
    worker.visit(7)
    assert runs == [7, 7]
    monkeypatch.setattr(host, "WARM_SECONDS", 0.005)
    began = perf_counter()
    worker.visit(7)
    assert perf_counter() - began >= 0.005 and len(runs) > 4  # as many runs as fit, before the burst


@pytest.mark.skipif(memory.peak() is None, reason="this system does not tell a process its peak of memory")
def test_memory_is_that_of_the_contender_alone(contenders):
    pixels = IMAGES[0].pixels()
    with Host(contenders.Glutton()) as glutton, Host(Png()) as png:
        much, little = glutton.peak_memory(pixels, 50), png.peak_memory(pixels, 100)
        again = glutton.visit(50)
    assert 75e6 < much < 100e6  # two copies of 40 MB
    assert 0 <= little < 20e6 and again.encode > 0


@pytest.mark.parametrize(
    ("quality", "words"), [(50, "failed while it was measured: cannot do it"), (60, "code 3")]
)
def test_a_contender_that_fails_is_named(contenders, quality, words):
    with Host(contenders.Broken()) as broken:
        broken.take(IMAGES[0].pixels())
        with pytest.raises(EdgepressError, match=f"broken.*{words}") as caught:
            broken.visit(quality)
    assert "\n" not in str(caught.value)


def test_a_process_ends_with_its_host():
    with Host(Jpeg()) as running:
        process = running._process
        assert process.is_alive()
    assert not process.is_alive()


def test_energy_is_read_from_powercap_and_its_counters_run_over(tmp_path):
    assert "no energy counter" in (EnergyMeter(tmp_path).reason or "")
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text("999999\n")
        (tmp_path / name / "energy_uj").write_text("900000\n")
    meter = EnergyMeter(tmp_path)
    before = meter.read()
    assert meter.reason is None and before == [900000, 900000]
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("950000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("100000\n")
    assert meter.joules_since(before) == pytest.approx(0.05 + 0.2)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert "run as root" in (EnergyMeter(tmp_path).reason or "")


CLOCKED = """
import time
from edgepress.bench import host
from edgepress.bench.codecs import make_codec

def make_clocked(spec):
    "In a host's process: its clock becomes that of the processor, which others' work does not move."
    host.perf_counter = time.process_time
    return Clocked(spec)

class Clocked:
    def __init__(self, spec):
        self.spec, self.codec = spec, make_codec(spec)
        self.name, self.encode, self.decode = spec, self.codec.encode, self.codec.decode

    def __reduce__(self):
        return make_clocked, (self.spec,)
"""


@pytest.mark.slow
def test_six_contenders_take_as_long_alone_as_among_each_other(tmp_path, monkeypatch, tiny_package):
    """Within 10%, by the processor's time: a test machine has other work, which a clock on the wall would see."""
    (tmp_path / "clocked_of_test.py").write_text(CLOCKED)
    monkeypatch.syspath_prepend(tmp_path)
    import clocked_of_test

    image = np.ascontiguousarray(skimage.data.astronaut()[:128, 150:278])
    specs = ["jpeg", "jpeg:progressive=1", "webp", "png", "jp2", str(tiny_package)]
    alone, among = ({spec: [] for spec in specs} for _ in range(2))
    with ExitStack() as stack:
        hosts = {spec: stack.enter_context(Host(clocked_of_test.Clocked(spec))) for spec in specs}
        for running in hosts.values():
            running.take(image)
        for _ in range(10):  # by turns, so that a slow minute hits both
            for spec, running in hosts.items():
                running.visit(75)
                alone[spec] += [running.visit(75) for _ in range(3)]
            for _ in range(3):
                for spec, running in hosts.items():
                    among[spec].append(running.visit(75))
    for spec in specs:
        times = [median(v.encode + v.decode for v in visits[spec]) for visits in (alone, among)]
        assert times[1] == pytest.approx(times[0], rel=0.1), spec
    sys.modules.pop("clocked_of_test")


def test_status_is_read_as_linux_writes_it(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert (memory.peak(), memory.resident()) == (2048 << 10, 512 << 10)
    monkeypatch.setattr(memory, "_STATUS", Path("no/such/file"))
    assert memory.peak() is None
