"""The figures of the runtime that are no codec's times: a start, the networks' share of a call, and memory."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.runtime import Codec, coder
from edgepress.runtime.interpreter import choose_interpreter

IMPORTS = "import numpy, PIL.Image"
MAIN = """
import sys
sys.argv = ["edgepress", *sys.argv[1:]]
from edgepress.runtime.main import main
"""
RUN = MAIN + "main()"
PEAK = (
    MAIN
    + """
try:
    main()
finally:
    print(open("/proc/self/status").read(), file=sys.stderr)
"""
)


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def large(astronaut):
    """The default codec with 768x512 pixels and their file, each way gone once."""
    codec = Codec.load()
    pixels = np.asarray(astronaut.resize((768, 512)))
    data = codec.encode(pixels)
    codec.decode(data)
    return codec, pixels, data


@pytest.mark.parametrize("what", ["imports", "imports and the interpreter's", "decode"])
def test_cold_start(benchmark, context, started, astronaut, tmp_path, what):
    """From the start of the process to the written PNG, beside what the libraries take."""
    (tmp_path / "a.epx").write_bytes(Codec.load().encode(astronaut.resize((128, 128))))
    arguments = {
        "imports": ("-c", IMPORTS),
        "imports and the interpreter's": ("-c", f"{IMPORTS}, {choose_interpreter().interpreter.__module__}"),
        "decode": ("-c", RUN, "decode", tmp_path / "a.epx", "-o", tmp_path / "a.png"),
    }[what]
    benchmark.group = "cold start, 128x128"
    benchmark.extra_info.update(context)
    benchmark.pedantic(started, arguments, rounds=15, warmup_rounds=1)
    assert what != "decode" or Image.open(tmp_path / "a.png").size == (128, 128)


class Timed:
    """An interpreter that notes how long each of its runs takes, in seconds."""

    def __init__(self, interpreter):
        self.interpreter, self.seconds = interpreter, []

    def __getattr__(self, name):
        return getattr(self.interpreter, name)

    def invoke(self):
        start = time.perf_counter()
        self.interpreter.invoke()
        self.seconds.append(time.perf_counter() - start)


@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_share_of_the_network(benchmark, context, large, operation):
    """A call on 768x512 pixels, and in extra_info what the network takes of that very call, in percent."""
    codec, pixels, data = large
    networks = codec._networks
    network = networks._encoder if operation == "encode" else networks._decoder
    timed = Timed(network._idle[-1].interpreter)
    network._idle[-1] = network._idle[-1]._replace(interpreter=timed)
    benchmark.group = f"{operation} 768x512"
    outside = []

    def work():
        start = time.perf_counter()
        codec.encode(pixels) if operation == "encode" else codec.decode(data)
        outside.append(100 * (1 - timed.seconds[-1] / (time.perf_counter() - start)))

    benchmark.pedantic(work, rounds=300, warmup_rounds=10)
    network._idle[-1] = network._idle[-1]._replace(interpreter=timed.interpreter)
    percent = float(np.median(outside[10:] or outside))
    benchmark.extra_info.update(context, package=codec.package.name, percent_outside=round(percent, 1))
    assert len(timed.seconds) == len(outside) and 0 < percent < 100


@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_entropy_coder(benchmark, context, large, operation):
    """The entropy coder's part of such a call."""
    codec, pixels, data = large
    tables, zero_point = codec.package.tables, codec.package.zero_point
    latent = codec.latent(pixels)
    payload = coder.encode_latent(latent, zero_point, tables, 75)
    shape = latent.shape[2], *latent.shape[:2]
    benchmark.group = f"{operation} 768x512"
    benchmark.extra_info.update(context, package=codec.package.name, bytes=len(data))
    if operation == "encode":
        benchmark(coder.encode_latent, latent, zero_point, tables, 75)
    else:
        benchmark(coder.decode_latent, payload, shape, zero_point, tables, 75)
    assert len(payload) < len(data) < len(payload) + 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("size", [(4000, 3000), (8000, 6000)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_large_images(benchmark, context, astronaut, tmp_path, size, operation):
    """The command on a photograph of 12 and one of 48 megapixels: its time, and in extra_info its peak of memory."""
    side = astronaut.width
    image = Image.new("RGB", size)
    for top in range(0, size[1], side):
        for left in range(0, size[0], side):
            image.paste(astronaut, (left, top))
    if operation == "encode":
        image.save(tmp_path / "in.jpg")
        source, target = tmp_path / "in.jpg", tmp_path / "out.epx"
    else:
        source, target = tmp_path / "in.epx", tmp_path / "out.jpg"
        source.write_bytes(Codec.load().encode(image))

    def run():
        command = [sys.executable, "-c", PEAK, operation, str(source), "-o", str(target)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    benchmark.group = f"{operation} {size[0]}x{size[1]}, whole process"
    status = benchmark.pedantic(run, rounds=3)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    benchmark.extra_info.update(context, peak_megabytes=round(peak, 1))
    assert peak > size[0] * size[1] * 4 / 2**20
