"""The decisions of a budget search, on invented figures: order, what is ruled out, when it stops, fronts and picks."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass

import pytest

from edgepress.optimize.budget import Budget, halve, parse_budget
from edgepress.optimize.candidates import Candidate, grid, next_candidate, still_open
from edgepress.optimize.errors import RecipeError
from edgepress.optimize.pareto import front, picks
from edgepress.optimize.search import Measured, fastest, judge, search

KEEPS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
MODES = ("ptq", "qat", "mixed")
IMAGES = 8


class Fake:
    """Networks whose loss grows with what was cut: by `slope` after fine-tuning, and by what the mode costs."""

    def __init__(self, slope, quantization, verify_more=0.0):
        self.slope, self.quantization, self.verify_more = slope, quantization, verify_more
        self.calls = []

    def float_loss(self, keep):
        return self.slope * (1 - keep) ** 2

    def __call__(self, candidate):
        assert candidate not in self.calls, "a candidate was evaluated twice"
        self.calls.append(candidate)
        before = self.float_loss(candidate.keep_macs)
        loss = before + self.quantization[candidate.mode]
        # Images differ a little; every other one verifies.
        losses = [loss + 0.001 * ((i // 2) % 2) + self.verify_more * (i % 2) for i in range(IMAGES)]
        size = int(50_000 * candidate.keep_macs)
        return Measured(
            tuple(losses), (before,) * IMAGES, size, 33 - loss, 0.9, 1.0, 3000 * candidate.keep_macs
        )

    def sensitivity(self):
        return {keep: 4 * self.float_loss(keep) for keep in KEEPS}


def best_by_brute_force(fake, amount):
    """The cheapest candidate whose loss is inside, by looking at all."""
    inside = [
        c
        for c in grid(KEEPS, MODES)
        if fake.float_loss(c.keep_macs) + fake.quantization[c.mode] + 0.001 * 0.5 <= amount
    ]
    return min((c.cost for c in inside), default=None)


@pytest.mark.parametrize("slope", [0.05, 0.3, 0.8, 2.0])
@pytest.mark.parametrize(
    "quantization", [{"ptq": 0.05, "qat": 0.02, "mixed": 0.01}, {"ptq": 0.5, "qat": 0.1, "mixed": 0.05}]
)
def test_it_finds_what_looking_at_everything_finds_and_looks_at_less(slope, quantization):
    fake, budget = Fake(slope, quantization), Budget("psnr", 0.2)
    points = search(grid(KEEPS, MODES), budget, fake, fake.sensitivity())
    chosen = fastest(points)
    assert chosen.candidate.cost == best_by_brute_force(fake, 0.2)
    assert len(fake.calls) <= 10 < len(grid(KEEPS, MODES))
    assert fake.calls[0] == Candidate(1.0, "ptq")
    assert [point.candidate for point in points] == fake.calls


def test_an_easy_budget_ends_with_the_fastest_at_once():
    fake = Fake(0.01, dict.fromkeys(MODES, 0.001))
    points = search(grid(KEEPS, MODES), Budget("psnr", 1.0), fake, fake.sensitivity())
    assert [c.keep_macs for c in fake.calls] == [1.0, 0.3]
    assert fastest(points).candidate == Candidate(0.3, "ptq")


def test_a_float_network_outside_the_budget_rules_out_every_mode():
    fake, budget = Fake(10.0, dict.fromkeys(MODES, 0.0)), Budget("psnr", 0.2)
    failed = judge(Candidate(0.6, "ptq"), fake(Candidate(0.6, "ptq")), budget)
    assert not failed.inside and failed.float_failed
    left = still_open(grid(KEEPS, MODES), [failed])
    assert {c.keep_macs for c in left} == {1.0, 0.85, 0.7}
    # Where only quantization was to blame, the other modes stay.
    fake = Fake(0.0, {"ptq": 0.5, "qat": 0.1, "mixed": 0.1})
    failed = judge(Candidate(0.6, "ptq"), fake(Candidate(0.6, "ptq")), budget)
    left = still_open(grid(KEEPS, MODES), [failed])
    assert Candidate(0.3, "qat") in left and Candidate(0.5, "ptq") not in left


def test_nothing_inside_is_said_and_every_other_mode_was_tried():
    fake = Fake(0.1, {"ptq": 1.0, "qat": 0.6, "mixed": 0.7})
    points = search(grid(KEEPS, MODES), Budget("psnr", 0.2), fake, fake.sensitivity())
    assert fastest(points) is None
    assert {c.mode for c in fake.calls if c.keep_macs == 1.0} == set(MODES)


def test_a_package_must_hold_on_the_images_that_did_not_choose_it():
    fake = Fake(0.1, dict.fromkeys(MODES, 0.01), verify_more=0.5)
    points = search(grid(KEEPS, MODES), Budget("psnr", 0.2), fake, fake.sensitivity())
    assert points[0].choosing < 0.2 < points[0].verifying
    assert fastest(points) is None


def test_uncertain_losses_need_a_margin():
    budget = Budget("psnr", 0.2, 0.95)
    steady, spread = [0.15] * 4, [0.0, 0.3, 0.0, 0.3]
    assert budget.bound(steady) == pytest.approx(0.15)
    # Student's t for 3 degrees of freedom at 95% is 2.353.
    assert budget.bound(spread) == pytest.approx(0.15 + 2.353 * (0.03**0.5) / 2, abs=1e-3)
    assert budget.bound([math.inf, 1.0]) == math.inf
    assert halve([1, 2, 3, 4, 5]) == ([1, 3, 5], [2, 4])


def test_the_first_choice_follows_the_estimate():
    fake, budget = Fake(0.8, {"ptq": 0.05, "qat": 0.02, "mixed": 0.01}), Budget("psnr", 0.2)
    first = judge(Candidate(1.0, "ptq"), fake(Candidate(1.0, "ptq")), budget)
    hopeless = {keep: 100 * (1 - keep) for keep in KEEPS}
    assert next_candidate(grid(KEEPS, MODES), [first], hopeless, budget).keep_macs == 0.85
    harmless = dict.fromkeys(KEEPS, 0.0)
    assert next_candidate(grid(KEEPS, MODES), [first], harmless, budget) == Candidate(0.3, "ptq")


@pytest.mark.parametrize(
    ("text", "budget"),
    [("0.2", ("psnr", 0.2)), ("ssim=0.005", ("ssim", 0.005)), ("bd-rate=2", ("bd-rate", 2.0))],
)
def test_budgets_are_read(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "much", "lpips=1", "0", "-1", "psnr=nan"])
def test_wrong_budgets_are_one_clear_line(text):
    with pytest.raises(RecipeError, match="--max-drop"):
        parse_budget(text)


@dataclass(frozen=True)
class Spot:
    bytes: int
    latency_ms: float
    quality: float


def test_front_and_picks():
    best, middle, small = Spot(100, 4.0, 33.0), Spot(60, 2.0, 32.8), Spot(30, 1.5, 30.0)
    beaten, equal = Spot(110, 4.1, 32.9), Spot(60, 2.0, 32.8)
    found = front([beaten, best, small, middle])
    assert found == [small, middle, best]
    assert picks([beaten, best, small, middle]) == {"Quality": best, "Balanced": middle, "Compact": small}
    assert front([middle, equal]) == [middle, equal]
    assert picks([best]) == dict.fromkeys(("Quality", "Balanced", "Compact"), best)
    assert picks([]) == {}


def test_none_of_it_needs_tensorflow():
    """So that a run whose stages are all in the cache starts at once."""
    code = (
        "import sys, edgepress.optimize.cli; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'tf_keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
