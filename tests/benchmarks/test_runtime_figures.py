"""The figures of the runtime that are no codec's times: a start, the networks' share of a call, and memory."""

import re
import subprocess
import sys

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


@pytest.mark.parametrize("part", ["whole", "network", "entropy coder"])
@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_parts(benchmark, context, astronaut, operation, part):
    """A call on 768x512 pixels, and what of it the network takes, without a copy, and the entropy coder."""
    codec = Codec.load()
    package = codec.package
    pixels = np.asarray(astronaut.resize((768, 512)))
    data = codec.encode(pixels)
    latent = codec.latent(pixels)
    payload = coder.encode_latent(latent, package.zero_point, package.tables, 75)
    shape = latent.shape[2], *latent.shape[:2]
    networks = codec._networks
    network = networks._encoder if operation == "encode" else networks._decoder
    size = (1, *(pixels if operation == "encode" else latent).shape)

    def nothing(array):
        pass

    work = {
        ("encode", "whole"): lambda: codec.encode(pixels),
        ("decode", "whole"): lambda: codec.decode(data),
        ("encode", "entropy coder"): lambda: coder.encode_latent(
            latent, package.zero_point, package.tables, 75
        ),
        ("decode", "entropy coder"): lambda: coder.decode_latent(
            payload, shape, package.zero_point, package.tables, 75
        ),
    }.get((operation, part), lambda: network.run(size, nothing, nothing))
    benchmark.group = f"parts of {operation} 768x512"
    benchmark.extra_info.update(context, package=package.name, bytes=len(data))
    benchmark(work)
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
