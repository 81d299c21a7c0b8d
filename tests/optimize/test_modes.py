"""`edgepress optimize` with every mode and stage, on animals of the zoo whose sizes or layers are not the usual ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from zoo import ZOO

from edgepress.optimize.cli import optimize
from edgepress.optimize.tflite import operations
from edgepress.runtime.codec import Codec

RECIPE = """
[channels]
steps = 8
batch = 2
crop = 32
[prune]
steps = 0
[quantize]
qat_steps = 30
qat_learning_rate = 1e-3
fallback = 2
[codec]
sets = 1
bank = 12
[measure]
images = 2
side = 96
repeats = 2
"""
TUNED = f"""{RECIPE}
[decoder]
steps = 6
batch = 2
crop = 96
"""
BOTH = f"""{TUNED}
[rd]
steps = 10
batch = 2
crop = 96
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, photographs):
    """(animal, flags) -> (printed text, JSON, codec), stages shared between the runs."""
    folder = tmp_path_factory.mktemp("modes")
    (folder / "data").mkdir()
    for i, image in enumerate(photographs):
        for k in range(4):
            Image.fromarray(image[:, 40 * k :][:100, :130]).save(folder / "data" / f"{i}{k}.png")
    for name, text in (("recipe.toml", RECIPE), ("tuned.toml", TUNED), ("both.toml", BOTH)):
        (folder / name).write_text(text)
    specimens: dict[str, tuple[Path, ...]] = {}

    def once(name: str, *flags: str, recipe: str = "recipe.toml") -> tuple[str, dict[str, Any], Codec]:
        if name not in specimens:
            animal = next(animal for animal in ZOO if animal.name == name)
            specimens[name] = animal.make(folder / name, photographs).paths
        paths = specimens[name]
        given = paths if len(paths) == 1 else ("--encoder", paths[0], "--decoder", paths[1])
        arguments = [*given, "--data", folder / "data", "-o", folder / "out.epm", *flags]
        arguments += ["--recipe", folder / recipe, "--json", folder / "out.json"]
        result = CliRunner().invoke(optimize, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        figures = json.loads((folder / "out.json").read_text())
        return " ".join(result.output.split()), figures, Codec.load(folder / "out.epm")

    return once


def rows(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in figures["stages"]}


@pytest.fixture(scope="module")
def plain(run):
    return run("sequential")


@pytest.mark.parametrize("mode", ["ptq", "mixed"])
def test_the_decoder_is_trained_behind_the_quantizer(run, mode):
    """The same encoder and tables, so the same files; another decoder of the same operations, layers in float included."""
    _, before, old = run("sequential", "--mode", mode)
    text, figures, new = run("sequential", "--mode", mode, recipe="tuned.toml")
    assert "decoder, trained behind the quantizer: loss" in text and before["decoder"] is None
    assert figures["decoder"]["loss_after"] != figures["decoder"]["loss_before"]
    assert new.package.encoder == old.package.encoder
    assert new.package.tables.to_bytes() == old.package.tables.to_bytes()
    assert new.package.decoder != old.package.decoder
    assert operations(new.package.decoder) == operations(old.package.decoder)
    assert figures["float_layers"] == before["float_layers"]


def test_both_networks_are_trained_before_the_decoder_alone(run):
    """Other networks of the same operations and the same latent steps, other tables, layers in float included."""
    _, before, old = run("sequential", "--mode", "mixed")
    text, figures, new = run("sequential", "--mode", "mixed", recipe="both.toml")
    assert "both networks, trained on for rate and distortion: loss" in text and before["rd"] is None
    assert "decoder, trained behind the quantizer: loss" in text
    assert figures["rd"]["trade"] > 0 and figures["rd"]["loss_after"] > 0
    for part in ("encoder", "decoder"):
        one, other = (getattr(codec.package, part) for codec in (old, new))
        assert one != other and operations(one) == operations(other)
    assert new.package.tables.to_bytes() != old.package.tables.to_bytes()
    assert (new.package.tables.gain == old.package.tables.gain).all()
    assert figures["float_layers"] == before["float_layers"]
    again = run("sequential", "--mode", "mixed", recipe="both.toml")[2]
    assert again.package.encoder == new.package.encoder  # from the cache


def test_training_under_simulated_int8(run, plain):
    """The model takes sides that are multiples of 3, which its crops must be, too."""
    _, figures, codec = run("sequential", "--mode", "qat")
    stages = rows(figures)
    assert list(stages) == ["float", "rewritten", "qat", "int8", "package"]
    assert figures["qat"]["loss_after"] < figures["qat"]["loss_before"]
    assert stages["qat"]["psnr"] > stages["float"]["psnr"]  # 150 steps of training left room
    assert stages["int8"]["psnr"] == pytest.approx(stages["qat"]["psnr"], abs=0.3)
    assert figures["recipe"]["quantize"]["mode"] == "qat"
    assert codec.package.encoder != plain[2].package.encoder


def test_layers_left_in_float(run, plain):
    text, figures, codec = run("sequential", "--mode", "mixed")
    left = figures["float_layers"]
    assert len(left) == 2 and set(left) <= {layer["name"] for layer in figures["layers"]}
    assert f"left in float, since they add most noise: {', '.join(left)}" in text
    assert plain[1]["float_layers"] == []
    worst = min((layer for layer in plain[1]["layers"] if layer["own"]), key=lambda layer: layer["own"])
    assert f"own signal-to-noise ratio in dB: {worst['name']} {worst['own']:.1f}" in plain[0]

    def to_float(package) -> int:
        return sum(operations(part)["DEQUANTIZE"] for part in (package.encoder, package.decoder))

    assert to_float(codec.package) > to_float(plain[2].package) == 0
    # What stays in float adds no noise: the networks come closer to the float ones.
    assert rows(figures)["int8"]["psnr"] == pytest.approx(rows(figures)["float"]["psnr"], abs=0.1)


def test_weights_and_channels_of_a_model_of_odd_stride(run):
    _, figures, _ = run("sequential", "--steps", "4", "--keep-macs", "0.75", "--dead")
    assert list(rows(figures)) == ["float", "rewritten", "dead", "channels", "pruned", "int8", "package"]
    assert figures["channels"]["macs_after"] <= 0.75 * figures["channels"]["macs_before"]


def test_channels_and_comparisons_of_a_model_of_fixed_size(run):
    text, figures, _ = run("odd", "--keep-macs", "0.97", "--dead", "--compare")
    stages = rows(figures)
    for mode in ("float16", "dynamic", "int16x8"):
        assert stages[mode]["psnr"] == pytest.approx(stages["channels"]["psnr"], abs=0.2)
    assert (
        "int16x8: int8 weights, 16-bit activations: nearly float quality, but it leaves the fast path" in text
    )
    assert stages["int16x8"]["undelegated"] > 0
