"""The energy that the processor takes, where the board has a counter for it (RAPL in Linux's powercap)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/class/powercap")


class EnergyMeter:
    """Reads the counters of all processor packages. They count everything that runs, idle power included.

    reason: why there is no figure, in one sentence; None when there is.
    """

    def __init__(self, root: Path = ROOT) -> None:
        # Zones of whole packages (intel-rapl:0), not their parts (intel-rapl:0:0), nor the same ones seen another way (mmio).
        self._zones = [z for z in sorted(root.glob("intel-rapl:*")) if z.name.count(":") == 1]
        self.reason: str | None = None
        if not self._zones:
            self.reason = f"no energy counter on this machine ({root})"
            return
        try:
            self._ranges = [int((z / "max_energy_range_uj").read_text()) for z in self._zones]
            self.read()
        except (OSError, ValueError):
            self.reason = f"the energy counters in {root} cannot be read: run as root"

    def read(self) -> list[int]:
        """The counters in microjoules; empty when there are none."""
        return [] if self.reason else [int((z / "energy_uj").read_text()) for z in self._zones]

    def joules_since(self, before: list[int]) -> float | None:
        """Joules taken since an earlier `read`, of which the counters may have run over once; None without counters."""
        if self.reason:
            return None
        pairs = zip(self.read(), before, self._ranges, strict=True)
        return sum((now - then) % (limit + 1) for now, then, limit in pairs) / 1e6
