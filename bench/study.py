"""The study of 2024, redone: its models beside JPEG at equal mean SSIM, and whether deeper ones overfit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgepress.runtime.codec import Codec

from .codecs import Missing
from .contender import ReferenceCodec
from .curve import Point, measure_points
from .loadimages import BenchImage
from .match import Match
from .published import PUBLISHED, SET_SECONDS, Published
from .report import finite, time_ratio
from .run import Result, Stage, unwatched
from .traininglog import TrainingLog, find_log
from .workers import Workers

MODELS = (*PUBLISHED, "photo")
QUALITIES = (10, 25, 50, 75, 90, 100)  # the highest is what the study's models had: no rate control at all


@dataclass(frozen=True)
class StudyRow:
    """A contender at its highest quality beside the anchor at equal mean SSIM, and the study's figures of that model.

    match.point and match.anchor hold the figures and their rows, image by image. seconds, anchor_seconds: to encode and
    decode one image; None when nothing was timed. there: the anchor at the quality that the study names. training:
    the contender on the images that it was trained on, at the same quality.
    """

    number: int  # of the contender among the result's
    match: Match
    published: Published | None
    seconds: float | None
    anchor_seconds: float | None
    time_ratio: float | None
    there: Point | None
    training: Point | None
    log: TrainingLog | None

    @property
    def name(self) -> str:
        return self.match.codec


@dataclass(frozen=True)
class Study:
    """All rows in the order of the contenders; images and training_images: how many the figures are means over."""

    anchor: str
    images: int
    training_images: int
    rows: tuple[StudyRow, ...]


def study_specs() -> tuple[list[str], list[Missing]]:
    """The study's models and the default package: those that are installed, and those that are not."""
    known = Codec.available()
    lacking = [name for name in MODELS if name not in known]
    reason = "is no installed package; name an .epm file with --codec, or train it with --train"
    return [n for n in MODELS if n in known], [Missing(n, f"{n}: {reason}") for n in lacking]


def study_of(
    result: Result,
    training: Sequence[BenchImage] = (),
    logs: Path | None = None,
    workers: Workers | None = None,
    stage: Stage | None = None,
) -> Study:
    """The study's table from a benchmark of its models.

    training: images that the study's models were trained on, of the same size; others are not measured on them. logs: a
    folder of training logs, see `find_log`.
    """
    best = {match.codec: match for match in result.matches}  # the last of each is its highest quality
    named = {curve.codec.name: (n, curve.codec) for n, curve in enumerate(result.curves)}
    begin = stage or unwatched
    there = sorted({PUBLISHED[name].jpeg_quality for name in best if name in PUBLISHED})
    with workers or Workers() as pool:
        steps = len(result.images) * len(there) + len(training) * sum(name in PUBLISHED for name in best)
        count = begin("the study's table", steps)

        def measure(
            codec: ReferenceCodec, images: Sequence[BenchImage], qualities: Sequence[int]
        ) -> dict[int, Point]:
            points = measure_points(codec, images, qualities, False, pool, count) if qualities else ()
            return {point.quality: point for point in points}

        anchors = measure(result.anchor.codec, result.images, there)
        rows = []
        for name, match in best.items():
            number, codec = named[name]
            published = PUBLISHED.get(name)
            quality = match.point.quality
            row = StudyRow(
                number,
                match,
                published,
                _seconds(result, name, quality),
                _seconds(result, result.anchor.codec.name, match.anchor.quality),
                time_ratio(result, match),
                anchors[published.jpeg_quality] if published else None,
                measure(codec, training, [quality])[quality] if training and published else None,
                find_log(logs, name) if logs else None,
            )
            rows.append(row)
    return Study(result.anchor.codec.name, len(result.images), len(training), tuple(rows))


def with_study(result: Result, study: Study) -> Result:
    """The result whose JSON also holds the study's table."""
    return replace(result, extra={**result.extra, "study": to_dict(study)})


def to_dict(study: Study) -> dict[str, Any]:
    """Everything as plain values, ready for JSON; null for what is unknown.

    `models`: for each `quality`, then `model` and `jpeg` at equal mean SSIM with means and per-image values,
    `time_ratio`, `published` (the study's own figures), `jpeg_at_published_quality`, and what tells of overfitting:
    `training` (the model on training images) and `log`.
    """
    return {
        "published_set_seconds": list(SET_SECONDS),
        "training_images": study.training_images,
        "models": [
            {
                "name": row.name,
                "quality": row.match.point.quality,
                "in_reach": row.match.in_reach,
                "model": _point(row.match.point) | {"seconds": row.seconds},
                "jpeg": _point(row.match.anchor) | {"seconds": row.anchor_seconds},
                "time_ratio": row.time_ratio,
                "published": asdict(row.published) if row.published else None,
                "jpeg_at_published_quality": _means(row.there) if row.there else None,
                "training": _means(row.training) if row.training else None,
                "log": asdict(row.log) if row.log else None,
            }
            for row in study.rows
        ],
    }


def _means(point: Point) -> dict[str, Any]:
    return {
        "quality": point.quality,
        "bytes": point.bytes,
        "ratio": point.ratio,
        "psnr": finite(point.psnr),
        "ssim": point.ssim,
    }


def _point(point: Point) -> dict[str, Any]:
    rows = [{"image": r.image, "ratio": r.ratio, "psnr": finite(r.psnr), "ssim": r.ssim} for r in point.rows]
    return _means(point) | {"rows": rows}


def _seconds(result: Result, name: str, quality: int) -> float | None:
    timing = result.times.get((name, quality))
    return timing.round_trip_ms / 1000 if timing else None
