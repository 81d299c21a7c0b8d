"""Recipes: the shipped ones, overrides, and what is refused."""

from __future__ import annotations

import pytest

from edgepress.optimize.errors import RecipeError
from edgepress.optimize.recipe import DEFAULT, Recipe, load_recipe, recipe_text, shipped_recipes


def test_the_commented_default_says_what_the_code_does():
    assert load_recipe(DEFAULT) == Recipe()
    assert load_recipe(DEFAULT.parent / "demo.toml").prune.steps > 0


def test_overrides_and_round_trip(tmp_path):
    (tmp_path / "r.toml").write_text("[prune]\nsparsity = 0\nsteps = 7\n[codec]\nsets = 2\n")
    recipe = load_recipe(tmp_path / "r.toml", {"prune": {"steps": 9}})
    assert (recipe.prune.sparsity, recipe.prune.steps, recipe.codec.sets) == (0.0, 9, 2)
    assert Recipe().with_values(recipe.as_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[prune]\nsparsty = 0.5", "unknown key prune.sparsty"),
        ("[pruning]\nsteps = 1", r"unknown table \[pruning\]"),
        ("prune = 3", "must be a table"),
        ("[prune]\nsteps = 1.5", "must be of type int"),
        ("[prune]\nsteps = true", "must be of type int"),
        ("[prune]\nsparsity = 0.99", r"must lie in 0..0.95"),
        ("[codec]\nfinest = 8.0\ncoarsest = 4.0", "codec.coarsest must lie in 8..4095"),
        ("[prune", "not a TOML recipe"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, text, message):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(tmp_path / "r.toml")
    assert "r.toml" in str(error.value)


CHANGES = {
    "model": {"latent": 'a "quoted" näme', "input_range": "-1..1"},
    "channels": {"dead": True, "keep_macs": 0.5, "criterion": "magnitude"},
    "quantize": {"mode": "qat", "qat_learning_rate": 3e-5},
    "search": {"max_drop": 0.2, "keep_macs": [1, 0.5], "modes": ["ptq"]},
    "measure": {"compare": True},
}


@pytest.mark.parametrize("changes", [{}, CHANGES])
@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_dumped_recipe_reads_back_as_it_was(tmp_path, name, changes):
    recipe = load_recipe(name, changes)
    (tmp_path / "dump.toml").write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "dump.toml") == recipe
    text = recipe_text(recipe)
    for part, values in recipe.as_dict().items():
        assert f"[{part}]" in text
        # Every key is there, and every one of them that needs it says what it means.
        assert all(f"\n{key} = " in text for key in values)


def test_lists_and_choices_are_checked():
    with pytest.raises(RecipeError, match=r"search\.modes must be one of 'ptq'"):
        load_recipe(None, {"search": {"modes": ["int4"]}})
    with pytest.raises(RecipeError, match=r"search\.keep_macs must hold values of type float"):
        load_recipe(None, {"search": {"keep_macs": ["half"]}})
    with pytest.raises(RecipeError, match=r"search\.keep_macs must hold shares"):
        load_recipe(None, {"search": {"keep_macs": []}})
    with pytest.raises(RecipeError, match=r"quantize\.mode must be one of"):
        load_recipe(None, {"quantize": {"mode": "int4"}})
