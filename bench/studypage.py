"""The section of the HTML report that holds the study, redone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from .study import Study
from .studycharts import SIDE, Sheet, spread_charts, training_chart
from .studytables import study_tables


def study_section(study: Study, sheets: Sequence[Sheet]) -> dict[str, Any]:
    """What the template study.html.j2 is filled with."""
    training = training_chart(study)
    return {
        "tables": study_tables(study),
        "charts": [*spread_charts(study), *([training] if training else [])],
        "sheets": [_sheet(study, sheet) for sheet in sheets],
    }


def _sheet(study: Study, sheet: Sheet) -> dict[str, Any]:
    point, anchor = sheet.row.match.point, sheet.row.match.anchor
    return {
        "name": sheet.row.name,
        "uri": f"data:image/png;base64,{base64.b64encode(sheet.png).decode('ascii')}",
        "width": sheet.width,
        "height": sheet.height,
        "alt": f"The middle {SIDE}x{SIDE} pixels of {', '.join(sheet.images)}, enlarged: original, {sheet.row.name} at "
        f"quality {point.quality}, {study.anchor} at quality {anchor.quality}",
    }
