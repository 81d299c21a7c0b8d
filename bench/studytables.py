"""The study, redone, as tables of text: the same for the terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from .published import SET_SECONDS
from .study import Study, StudyRow

NONE = "–"


@dataclass(frozen=True)
class TextTable:
    """A title, a line of help, headings and rows of cells; the first `names` columns are words, the others numbers."""

    title: str
    help: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1


def study_tables(study: Study) -> list[TextTable]:
    """The study's table beside ours, JPEG at its qualities, and what tells of overfitting, as far as known."""
    tables = [_main(study)]
    if any(row.there for row in study.rows):
        tables.append(_settings(study))
    if any(row.training or row.log for row in study.rows):
        tables.append(_overfitting(study))
    return tables


def print_study(study: Study, console: Console) -> None:
    """The tables on the terminal, each with its line of help below."""
    for table in study_tables(study):
        shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for n, heading in enumerate(table.headings):
            shown.add_column(heading, justify="left" if n < table.names else "right", no_wrap=True)
        for n, row in enumerate(table.rows):
            last = n + 1 == len(table.rows) or table.rows[n + 1][0] != row[0]
            shown.add_row(*row, end_section=last and table.names > 1)
        console.print(shown)
        console.print(table.help, highlight=False, style="dim")


def _main(study: Study) -> TextTable:
    rows = []
    for row in study.rows:
        if row.published:
            p = row.published
            rows.append(
                (
                    row.name,
                    "study",
                    f"{p.ssim:.2f}",
                    str(p.jpeg_quality),
                    _pair(p.psnr, p.jpeg_psnr),
                    _pair(p.ratio, p.jpeg_ratio),
                    NONE,
                    _times(p.time_ratio),
                )
            )
        own, anchor = row.match.point, row.match.anchor
        rows.append(
            (
                row.name,
                "here",
                f"{own.ssim:.4f}",
                f"{anchor.quality}{'' if row.match.in_reach else '!'}",
                _pair(own.psnr, anchor.psnr),
                _pair(own.ratio, anchor.ratio),
                _milliseconds(row),
                _times(row.time_ratio),
            )
        )
    return TextTable(
        f"The study of 2024 and its models here, at their highest quality, on {study.images} images",
        "Model / JPEG at equal mean SSIM: PSNR in dB, compression ratio, ms to encode and decode an image. Time: as a "
        f"multiple of JPEG's; the study's {SET_SECONDS[0]:g} s and {SET_SECONDS[1]:g} s are for its whole set, with files, "
        "and it gives no other. !: no quality of JPEG has that SSIM. Our images and models are not theirs: compare each "
        "line's model with its JPEG.",
        ("model", "whose", "SSIM", "q", "PSNR", "ratio", "ms", "time"),
        tuple(rows),
        names=2,
    )


def _settings(study: Study) -> TextTable:
    rows = []
    for row in study.rows:
        if row.published and row.there:
            p, there = row.published, row.there
            cells = (
                _pair(p.ssim, there.ssim, 4),
                _pair(p.jpeg_psnr, there.psnr),
                _pair(p.jpeg_ratio, there.ratio),
            )
            rows.append((str(p.jpeg_quality), *cells))
    return TextTable(
        "JPEG at the study's qualities: study / here",
        "How alike the images and measures are. The study's SSIM is its model's, which JPEG matches about.",
        ("q", "SSIM", "PSNR", "ratio"),
        tuple(rows),
        names=0,
    )


def _overfitting(study: Study) -> TextTable:
    rows = []
    for row in study.rows:
        own, training, log = row.match.point, row.training, row.log
        if not training and not log:
            continue
        gap = NONE
        if training and training.ssim is not None and own.ssim is not None:
            gap = f"{own.ssim - training.ssim:+.4f}"
        rows.append(
            (
                row.name,
                _pair(training.ssim, own.ssim, 4) if training else NONE,
                gap,
                _pair(training.psnr, own.psnr) if training else NONE,
                _pair(log.losses[-1], log.scores[-1], 5) if log else NONE,
                f"{log.rise:+.1%}" if log else NONE,
            )
        )
    return TextTable(
        "Do deeper models overfit, as the study explains its figures?",
        "One that overfits does better on what it was trained on, and its loss on held-out images rises while training goes "
        f"on. SSIM, PSNR: of the packages at their highest quality, on {study.training_images} training images / on the images "
        "above, and the gap between the two, which speaks of overfitting only where both are of one kind. Loss: the last epoch "
        "on training crops / on held-out images; rise: of the latter over its best.",
        ("model", "SSIM", "gap", "PSNR", "loss", "rise"),
        tuple(rows),
    )


def _pair(first: float | None, second: float | None, digits: int = 2) -> str:
    if first is None and second is None:
        return NONE
    return " / ".join(NONE if value is None else f"{value:.{digits}f}" for value in (first, second))


def _milliseconds(row: StudyRow) -> str:
    if row.seconds is None or row.anchor_seconds is None:
        return NONE
    return f"{1000 * row.seconds:.2f} / {1000 * row.anchor_seconds:.2f}"


def _times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.1f}x"
