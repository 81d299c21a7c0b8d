"""`edgepress optimize --max-drop`: the search with real networks, what it found, and the recipe that makes the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.runtime.errors import EdgepressError

from .budget import Budget
from .cache import Cache
from .candidates import grid
from .evaluate import Evaluator, recipe_for
from .keys import Images
from .pareto import front, picks
from .plan import Begin
from .recipe import Recipe
from .search import Point, fastest, search
from .source import Source


@dataclass(frozen=True)
class Found:
    """What a budget search did.

    Attributes:
        points: everything evaluated, in that order.
        chosen: the fastest inside the budget.
        picks: Quality, Balanced and Compact, on the Pareto front of all points.
        left_out: how many candidates of the grid did not have to be evaluated.
        impossible: why some values of `keep_macs` cannot be had.
    """

    budget: Budget
    points: list[Point]
    chosen: Point
    picks: Mapping[str, Point]
    left_out: int
    impossible: list[str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        ahead = {point.candidate for point in front(self.points)}
        return {
            "budget": asdict(self.budget),
            "points": [
                {
                    **asdict(point),
                    "front": point.candidate in ahead,
                    "picks": [name for name, pick in self.picks.items() if pick is point],
                    "chosen": point is self.chosen,
                }
                for point in self.points
            ],
            "left_out": self.left_out,
            "impossible": self.impossible,
        }


def search_recipe(
    source: Source, images: Images, held_out: Images, recipe: Recipe, cache: Cache, begin: Begin
) -> tuple[Recipe, Found]:
    """The recipe of the fastest package inside the budget of `recipe.search`, and how it was found.

    Raises: EdgepressError when too few images are held out, or nothing that was evaluated is inside the budget.
    """
    settings = recipe.search
    if len(held_out) < 4:
        raise EdgepressError(
            f"a budget needs at least 4 held-out images, two to choose on and two to verify, not {len(held_out)}: "
            "give --val, or more --data"
        )
    budget = Budget(settings.metric, settings.max_drop, settings.confidence)
    evaluator = Evaluator(source, images, held_out, recipe, budget, cache, begin)
    sensitivity, impossible = _sensitivities(evaluator, sorted(set(settings.keep_macs), reverse=True))
    candidates = grid(list(sensitivity), settings.modes)
    if not candidates:
        raise EdgepressError(f"nothing to search in: {'; '.join(impossible)}")
    points = evaluator.timed(search(candidates, budget, evaluator.measure, sensitivity))
    chosen = fastest(points)
    if chosen is None:
        nearest = min(points, key=lambda p: max(p.loss, p.verifying))
        raise EdgepressError(
            f"nothing stays within {budget} of the float model; the nearest is {nearest.candidate}, which loses "
            f"{nearest.loss:.3g} (upper bound) where it was chosen and {nearest.verifying:.3g} where it was verified: "
            "allow a larger --max-drop, or more steps of fine-tuning"
        )
    found = Found(budget, points, chosen, picks(points), len(candidates) - len(points), impossible)
    return recipe_for(recipe, chosen.candidate), found


def _sensitivities(evaluator: Evaluator, keeps: Sequence[float]) -> tuple[dict[float, float], list[str]]:
    """The loss by cutting for each share, from the largest on, and why the smallest ones cannot be had."""
    found: dict[float, float] = {}
    try:
        for keep in keeps:
            found[keep] = evaluator.sensitivity(keep)
    except EdgepressError as error:  # no channel is left to go: nor would there be one further down
        return found, [f"{rest:.0%}: {error}" for rest in keeps[len(found) :]]
    return found, []
