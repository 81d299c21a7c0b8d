"""Recipes: the shipped ones, overrides, and what is refused."""

from __future__ import annotations

import pytest

from edgepress.optimize.errors import RecipeError
from edgepress.optimize.recipe import DEFAULT, Recipe, load_recipe


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
