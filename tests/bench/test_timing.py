"""Times come from each contender's own process: warm, in turns, the same alone or in company; so does its memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from edgepress.bench import host, memory
from edgepress.bench.energy import EnergyMeter
from edgepress.bench.host import Host
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pillowcodecs import Jpeg, Png, Webp
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
    visit = worker.visit(7)
    assert runs == [7] * (1 + host.BURST_RUNS) and (visit.encode, visit.decode) == (0.002, 0.001)
    monkeypatch.setattr(host, "BURST_SECONDS", 0)
    runs.clear()
    worker.visit(7)
    assert runs == [7, 7]


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


@pytest.mark.slow
def test_a_contender_takes_as_long_alone_as_among_others():
    """Within 10% on a quiet machine; twice that here, since a test machine is none, and the best of three tries."""
    image = np.asarray(skimage.data.astronaut())
    worst = []
    for _ in range(3):
        alone = time_contenders([(Jpeg(), 75)], [image], 15)["jpeg", 75]
        company = [(Jpeg(), 75), (Webp(), 75), (Png(), 100), (Jpeg(progressive=True), 75)]
        among = time_contenders(company, [image], 15)["jpeg", 75]
        worst.append(abs(among.round_trip_ms / alone.round_trip_ms - 1))
    assert min(worst) < 0.2


def test_status_is_read_as_linux_writes_it(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert (memory.peak(), memory.resident()) == (2048 << 10, 512 << 10)
    monkeypatch.setattr(memory, "_STATUS", Path("no/such/file"))
    assert memory.peak() is None
