"""Training the study's models anew: the very commands that a user would type, one after the other.

Each runs in a process of its own, since the rooms that train and optimize, and TensorFlow, are not the benchmark's to
import. A run that was interrupted goes on when it is started again: finished packages are kept, and `train` resumes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from edgepress.runtime.errors import EdgepressError

from .published import PUBLISHED
from .traininglog import optimizers_room

_MAIN = "from edgepress.runtime.main import main; main()"


def commands(model: str, data: Path, folder: Path, vgg: Path | None, steps: int | None) -> list[list[str]]:
    """The arguments of `edgepress` that make FOLDER/MODEL.epm from images: train in one or two parts, and optimize.

    The second part is that of the perceptual loss, which needs VGG16's weights. steps: of the first part, instead of the
    recipe's 12,000; the other parts become shorter by the same factor.
    """
    start, float_model, package = (
        folder / f"{model}-start.keras",
        folder / f"{model}.keras",
        folder / f"{model}.epm",
    )
    first = start if vgg else float_model
    shorter = [(), ()] if steps is None else [_steps(steps), _steps(max(1, steps // 20))]
    common = ["--model", model, "--data", str(data)]
    gentler = (
        ["--lr", "2e-3"] if PUBLISHED[model].layers > 5 else []
    )  # the recipe's 3e-3 is made for three layers
    made = [["train", "--recipe", "conv3-start", *common, "-o", str(first), *shorter[0], *gentler]]
    made[0] += ["--run", str(folder / f"{model}-start")]
    if vgg:
        made.append(["train", "--recipe", "conv3", *common, "--init", str(start), "--vgg", str(vgg)])
        made[1] += ["-o", str(float_model), "--run", str(folder / model), *shorter[1]]
    # The two small ones are fine-tuned while weights are pruned, the larger ones after channels were.
    flag = "--steps" if PUBLISHED[model].layers <= 5 else "--distill-steps"
    fine_tuning = [] if steps is None else [flag, str(max(1, steps // 8))]
    room = optimizers_room()
    recipe = ["--recipe", str(room / "recipes" / f"{model}.toml")] if room else []
    made.append(
        ["optimize", str(float_model), "--data", str(data), *recipe, *fine_tuning, "-o", str(package)]
    )
    return made


def train_models(
    data: Path,
    folder: Path,
    vgg: Path | None = None,
    steps: int | None = None,
    models: Sequence[str] = tuple(PUBLISHED),
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """The packages of all models of the study, made in `folder` where they are not there already.

    say: is told every command. Raises EdgepressError when the train extra is missing or a command fails, which has
    said why.
    """
    if vgg and not vgg.is_file():
        raise EdgepressError(f"{vgg}: no such file of VGG16 weights")
    for module in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
        if find_spec(module) is None:
            raise EdgepressError(
                f"training needs {module}, which is not installed: pip install 'edgepress[train]'"
            )
    folder.mkdir(parents=True, exist_ok=True)
    packages = []
    for model in models:
        packages.append(folder / f"{model}.epm")
        if packages[-1].exists():
            continue
        for arguments in commands(model, data, folder, vgg, steps):
            if say:
                say(f"edgepress {' '.join(arguments)}")
            if subprocess.run([sys.executable, "-c", _MAIN, *arguments]).returncode:
                raise EdgepressError(f"`edgepress {arguments[0]}` failed for {model}; start again to go on")
    return packages


def _steps(number: int) -> tuple[str, ...]:
    return ("--steps", str(number), "--epoch-steps", str(max(1, number // 10)))
