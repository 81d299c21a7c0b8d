"""How much memory this process holds and has held, as Linux counts it; None where it does not tell."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def resident() -> int | None:
    """Bytes of memory in use now (VmRSS)."""
    return _field("VmRSS")


def peak() -> int | None:
    """The most bytes in use since the process began, or since `reset_peak` (VmHWM)."""
    return _field("VmHWM")


def reset_peak() -> bool:
    """Let the peak begin anew from what is in use now; False where the system does not allow it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _field(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None
