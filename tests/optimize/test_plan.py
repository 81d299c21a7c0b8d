"""What of a run has to be made again when something changes: the keys of its stages, without computing any."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edgepress.optimize.cache import Cache
from edgepress.optimize.candidates import Candidate
from edgepress.optimize.errors import RecipeError
from edgepress.optimize.evaluate import recipe_for
from edgepress.optimize.keys import Images
from edgepress.optimize.made import Made
from edgepress.optimize.package_step import package_step, timing_step
from edgepress.optimize.plan import Plan, quiet
from edgepress.optimize.recipe import Recipe, load_recipe
from edgepress.optimize.source import Source, file_source

IMAGES = Images([np.zeros((64, 64, 3), np.uint8)])
OTHERS = Images([np.ones((64, 64, 3), np.uint8)])
EVERYTHING = {"channels": {"dead": True, "keep_macs": 0.5}, "measure": {"compare": True}}


def keys(tmp_path, recipe, images=IMAGES, held_out=IMAGES, source="a" * 64, name="name"):
    cache = Cache(tmp_path)
    plan = Plan(Source(source, lambda *_: None, "model"), images, recipe, cache)
    packed = package_step(plan, held_out, recipe, name, "model.keras", cache, quiet)
    timing = timing_step(plan, packed, held_out, recipe, cache, quiet)
    steps = {**plan.models, "floats": plan.floats, "compared": plan.compared, "int8": plan.int8}
    steps |= {"tables": plan.tables, "package": packed, "timing": timing}
    return {name: step.key for name, step in steps.items()}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


ALL = {"float", "rewritten", "dead", "channels", "pruned", "floats", "compared", "int8", "tables"}
ENDS = {"package", "timing"}


@pytest.mark.parametrize(
    ("change", "made_again"),
    [
        ({"codec": {"sets": 3}}, {"tables"}),
        ({"codec": {"smoothing": 5}}, set()),
        ({"quantize": {"latent_unit": 0.5}}, {"int8", "tables"}),
        ({"prune": {"sparsity": 0.5}}, {"pruned", "floats", "compared", "int8", "tables"}),
        ({"channels": {"steps": 9}}, ALL - {"float", "rewritten", "dead"}),
        ({"channels": {"group": 16}}, ALL - {"float", "rewritten", "dead"}),
        ({"loss": {"a": 0.0, "c": 1.0}}, ALL - {"float", "rewritten", "dead"}),
        ({"model": {"latent": "code"}}, ALL),
        ({"measure": {"side": 64}}, set()),
    ],
)
def test_a_recipe_makes_again_what_depends_on_it(tmp_path, change, made_again):
    recipe = load_recipe(None, EVERYTHING)
    before, after = keys(tmp_path, recipe), keys(tmp_path, recipe.with_values(change))
    assert changed(before, after) == made_again | ENDS


@pytest.mark.parametrize(
    ("parts", "change", "made_again"),
    [
        (("rd",), {"rd": {"seed": 1}}, {"int8", "tables"}),
        (("rd",), {"codec": {"finest": 2.0}}, {"int8", "tables"}),
        (("rd",), {"codec": {"sets": 3}}, {"tables"}),
        (("decoder",), {"decoder": {"seed": 1}}, {"int8"}),
        (("decoder",), {"codec": {"sets": 3}}, {"int8", "tables"}),
        (("rd", "decoder"), {"rd": {"trade": 1.0}}, {"int8", "tables"}),
        ((), {"rd": {"seed": 1}, "decoder": {"seed": 1}}, set()),
    ],
)
def test_training_behind_int8_is_made_again_where_it_must_be(tmp_path, parts, change, made_again):
    recipe = load_recipe(None, {part: {"steps": 5} for part in parts})
    before, after = keys(tmp_path, recipe), keys(tmp_path, recipe.with_values(change))
    assert changed(before, after) == made_again | ENDS


def test_images_and_the_model_decide_too(tmp_path):
    recipe = load_recipe(None, EVERYTHING)
    before = keys(tmp_path, recipe)
    assert changed(before, keys(tmp_path, recipe, images=OTHERS)) == ALL | ENDS
    assert changed(before, keys(tmp_path, recipe, held_out=OTHERS)) == ENDS
    assert changed(before, keys(tmp_path, recipe, source="b" * 64)) == ALL | ENDS
    assert changed(before, keys(tmp_path, recipe, name="other")) == ENDS
    assert changed(before, keys(tmp_path, recipe)) == set()


def test_candidates_of_a_search_share_what_they_can(tmp_path):
    recipe = Recipe()
    half, whole = (keys(tmp_path, recipe_for(recipe, Candidate(keep, "ptq"))) for keep in (0.5, 1.0))
    assert half["rewritten"] == whole["rewritten"]
    assert "channels" in half and "channels" not in whole
    assert half["int8"] != whole["int8"]
    # What the search chose is what the run makes.
    chosen = replace(recipe, channels=replace(recipe.channels, keep_macs=0.5))
    assert keys(tmp_path, chosen) == half


def test_the_stages_follow_the_recipe(tmp_path):
    def stages(recipe):
        return list(Plan(Source("", lambda *_: None, ""), IMAGES, recipe, Cache(tmp_path)).models)

    assert stages(load_recipe(None, {"prune": {"steps": 0}})) == ["float", "rewritten"]
    assert stages(load_recipe(None, EVERYTHING)) == ["float", "rewritten", "dead", "channels", "pruned"]
    assert stages(load_recipe(None, {"channels": {"keep_macs": 0.5, "steps": 0}})) == [
        *("float", "rewritten", "channels", "pruned")
    ]


@pytest.mark.parametrize(("stride", "tile"), [(8, 0), (24, 0), (16, 128)])
def test_smoothing_of_blocks_without_halves_is_refused_at_once(tmp_path, stride, tile):
    def latent(smoothing, stride, tile):
        recipe = load_recipe(None, {"codec": {"smoothing": smoothing}})
        plan = Plan(Source("", lambda *_: None, ""), IMAGES, recipe, Cache(tmp_path))
        made = Made(None, {"latent": {"stride": stride, "tile": tile}})
        plan.models["float"] = SimpleNamespace(get=lambda: made)
        return plan.latent

    assert latent(0, stride, tile)["stride"] == stride and latent(5, 32, 0)
    with pytest.raises(RecipeError, match=r"codec\.smoothing .* set it to 0"):
        latent(5, stride, tile)


def test_a_source_is_known_by_its_content(tmp_path):
    one, two = tmp_path / "one.keras", tmp_path / "two.keras"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    assert file_source(one).key == file_source(two).key
    two.write_bytes(b"others")
    assert file_source(one).key != file_source(two).key
    assert file_source((one, two)).key != file_source((two, one)).key
    saved = tmp_path / "saved"
    (saved / "variables").mkdir(parents=True)
    (saved / "variables" / "v").write_bytes(b"1")
    before = file_source(saved).key
    (saved / "variables" / "v").write_bytes(b"2")
    assert file_source(saved).key != before
    with pytest.raises(FileNotFoundError):
        file_source(tmp_path / "absent.keras")
