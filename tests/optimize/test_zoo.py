"""A dozen autoencoders from file to decoded image: every kind of file, every family of layers, see `zoo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio as psnr
from zoo import ZOO, Specimen

from edgepress.optimize.convert import Job, Pair, convert
from edgepress.optimize.fit_networks import fit_networks
from edgepress.optimize.join_branches import join_branches
from edgepress.optimize.keys import Images
from edgepress.optimize.latent_range import LatentRange, fill_int8
from edgepress.optimize.load import Loaded, load
from edgepress.optimize.made import Int8, LatentScale
from edgepress.optimize.measure import middle
from edgepress.optimize.recipe import CodecPart
from edgepress.optimize.rewrite import Rewritten, rewrite
from edgepress.optimize.split import Halves, split
from edgepress.optimize.tflite import undelegated
from edgepress.runtime.codec import Codec
from edgepress.runtime.package import write_package

SETTINGS = CodecPart(sets=1, bank=12)
LEAST = 38.0  # dB between the decoded image and what the float model makes of it


@dataclass(frozen=True)
class Case:
    """What became of one animal on the way."""

    specimen: Specimen
    loaded: Loaded
    halves: Halves
    rewritten: Rewritten
    filled: LatentRange
    pair: Pair
    plain: Pair  # int8 as it would be without the rewrites
    codec: Codec


@pytest.fixture(scope="module")
def cases(tmp_path_factory, photographs) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("zoo")
    floats = [image.astype("float32") / 255 for image in photographs]
    made: list[Any] = []
    jobs = []
    for animal in ZOO:
        specimen = animal.make(folder / animal.name, photographs)
        loaded = load(specimen.paths, photographs)
        halves = split(loaded.model, loaded.latent)
        latent = halves.latent
        rewritten = rewrite(loaded.model, floats, keep=(latent.layer,))
        wholes = [middle(image, latent.unit, 256) for image in floats]
        filled = fill_int8(split(rewritten.model, latent.layer), wholes)
        final = join_branches(filled, wholes)
        jobs.append(Job(final.encoder, final.decoder, "int8", filled.int8_scale, filled.zero_point))
        jobs.append(Job(halves.encoder, halves.decoder, "int8", resizable=False))
        made.append((specimen, loaded, halves, rewritten, filled))
    pairs = iter(convert(jobs, photographs))
    cases = {}
    for specimen, loaded, halves, rewritten, filled in made:
        pair, plain = next(pairs), next(pairs)
        codec = _package(folder / f"{specimen.animal.name}.epm", halves, filled, pair, photographs)
        cases[specimen.animal.name] = Case(specimen, loaded, halves, rewritten, filled, pair, plain, codec)
    return cases


def _package(path: Path, halves: Halves, filled: LatentRange, pair: Pair, photographs: Any) -> Codec:
    latent = halves.latent
    made = Int8(pair, LatentScale.of(filled), None, ())  # float twin and halves serve other stages
    place = {"unit": latent.unit, "tile": latent.tile}
    write_package(
        path,
        name=path.stem.replace(" ", "-"),
        architecture="",
        stride=latent.stride,
        tile=latent.tile or None,
        zero_point=pair.zero_point,
        encoder=pair.encoder,
        decoder=pair.decoder,
        tables=fit_networks(made, Images(photographs), place, SETTINGS),
        provenance={},
        figures={},
        description="",
    )
    return Codec.load(path)


@pytest.fixture(params=[animal.name for animal in ZOO])
def case(request, cases) -> Case:
    return cases[request.param]


def test_a_decoded_image_is_what_the_float_model_makes_of_it(case, photographs):
    """An image larger than those of the training, and no whole number of latent positions."""
    image = photographs[0][:101, 40:190]
    expected = case.specimen.reconstruct(image)
    # The model does something, or the comparison would mean nothing.
    assert (
        psnr(image, expected)
        > psnr(image, np.broadcast_to(image.mean((0, 1)).astype(np.uint8), image.shape)) + 2
    )
    decoded = case.codec.decode_array(case.codec.encode(image, 100))
    assert psnr(expected, decoded) > LEAST


def test_rewrites_are_exact(case):
    assert case.rewritten.rewrites
    assert case.rewritten.max_difference < 1e-5


def test_what_xnnpack_leaves_is_known(case):
    left = undelegated(case.pair.encoder) + undelegated(case.pair.decoder)
    assert tuple(left) == case.specimen.animal.left
    assert sum(left.values()) <= sum(
        (undelegated(case.plain.encoder) + undelegated(case.plain.decoder)).values()
    )


def test_value_ranges_are_recognized(case):
    values = case.specimen.animal.values
    assert f"input {values} " in case.loaded.notes[0] and f"output {values} " in case.loaded.notes[0]


def test_fixed_sizes_become_tiles(case):
    side = case.specimen.animal.side
    assert case.codec.package.tile == side
    assert case.halves.latent.tile == (side or 0)


def test_two_files_are_cut_where_they_meet(cases):
    case = cases["two files"]
    assert (
        case.halves.latent.channels == 24
    )  # the image side is narrower at no place, and this is not looked for
    assert case.halves.latent.layer == case.loaded.latent
