"""`edgepress bench --study`: its options, and what it does around a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write

from .codecs import ANCHOR, Missing
from .loadimages import BenchImage, load_images
from .published import PUBLISHED, SIDE
from .run import Result, Stage
from .study import Study, study_of, study_specs
from .studycharts import Sheet, detail_sheets, png_figures
from .studytrain import train_models
from .tiles import cut
from .traininglog import shipped_logs
from .workers import Workers

C = TypeVar("C", bound=Callable[..., Any])
_FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class StudyOptions:
    """The options of `study_options`."""

    study: bool
    figures: Path | None
    training_images: Path | None
    training_logs: Path | None
    train: Path | None
    train_into: Path
    vgg: Path | None
    train_steps: int | None

    def check(self, anchor: str) -> None:
        """Before any work, raise a usage error for options that do not go together, and EdgepressError for folders that
        do not exist."""
        if self.study and anchor.partition(":")[0] != ANCHOR:
            raise click.UsageError(
                "--study compares with JPEG: --anchor can be jpeg with other parameters only"
            )
        given = [
            self.figures,
            self.training_images,
            self.training_logs,
            self.train,
            self.vgg,
            self.train_steps,
        ]
        if not self.study and any(value is not None for value in given):
            raise click.UsageError(
                "--figures, --training-images, --training-logs, --train, --vgg and --train-steps are of --study"
            )
        for folder in (self.training_images, self.training_logs, self.train):
            if folder and not folder.is_dir():
                raise EdgepressError(f"{folder}: no such folder")

    def contenders(self, specs: tuple[str, ...], console: Console) -> tuple[list[str], list[Missing]]:
        """What is compared, and the study's models that are not here; trains them first where that is asked for."""
        if not self.train:
            return (list(specs), []) if specs else study_specs()

        def say(line: str) -> None:
            console.print(line, style="bold", highlight=False, soft_wrap=True)

        packages = train_models(self.train, self.train_into, self.vgg, self.train_steps, say=say)
        untrained, missing = study_specs()
        others = [name for name in untrained if name not in PUBLISHED]
        return [*map(str, packages), *(specs or others)], [m for m in missing if m.spec not in PUBLISHED]

    def redo(self, result: Result, workers: Workers, stage: Stage, skipped: Callable[[str], None]) -> Study:
        """The study's table of a benchmark that has been run."""
        training: list[BenchImage] = []
        if self.training_images:
            found = load_images(self.training_images, None, skipped)
            training = cut(found, SIDE, len(result.images), skipped)
        logs = self.training_logs or (self.train_into if self.train else shipped_logs())
        return study_of(result, training, logs, workers, stage)

    def draw(self, result: Result, study: Study) -> list[Sheet]:
        """The detail sheets, and all figures as files where that is asked for."""
        sheets = detail_sheets(study, [curve.codec for curve in result.curves], result.images)
        if self.figures:
            self.figures.mkdir(parents=True, exist_ok=True)
            for name, content in png_figures(study, sheets).items():
                atomic_write(self.figures / name, content)
        return sheets


def study_options(command: C) -> C:
    """The options of the study, in the order of the help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = [
    click.option(
        "--study",
        is_flag=True,
        help=f"Redo the study of 2024: conv3, conv5, conv7, conv10 and photo on squares of {SIDE}x{SIDE} pixels, its own "
        "table beside ours, with its figures. --codec names other contenders.",
    ),
    click.option(
        "--figures", type=_FOLDER, metavar="DIR", help="With --study: write its figures there as PNG."
    ),
    click.option(
        "--training-images",
        type=_FOLDER,
        metavar="DIR",
        help="With --study: what conv3 to conv10 were trained on, to see whether they overfit.",
    ),
    click.option(
        "--training-logs",
        type=_FOLDER,
        metavar="DIR",
        help="With --study: logs of `edgepress train`, NAME-start.csv or NAME.csv; default: the shipped ones.",
    ),
    click.option(
        "--train",
        type=_FOLDER,
        metavar="DIR",
        help="With --study: first train the study's models anew on these images (hours; needs edgepress[train]).",
    ),
    click.option(
        "--train-into",
        type=_FOLDER,
        default=Path("study-models"),
        show_default=True,
        metavar="DIR",
        help="With --train: where they are made; finished ones are kept.",
    ),
    click.option(
        "--vgg",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="With --train: VGG16 weights (.npz, .h5) for the perceptual part of the loss; default: without it.",
    ),
    click.option(
        "--train-steps",
        type=click.IntRange(1),
        help="With --train: fewer steps than the recipe's 12,000 each.",
    ),
]
