"""What the fuzzers of `make fuzz` start from: the shipped packages' tables, and good inputs for the C coder."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

from edgepress.runtime import coder
from edgepress.runtime.package import read_package, shipped
from edgepress.runtime.tables import EntropyTables

SHAPES = ((1, 1), (2, 3), (1, 17), (4, 5), (6, 16))
CHANNELS = (
    16  # of tables that are tried much more often than whole ones, as they take a twentieth of the time
)


def table_arrays(tables: EntropyTables, table_set: int) -> list[bytes]:
    """The arguments of the C coder's `prepare` for one table set."""
    per_set = (tables.order, tables.mean_w, tables.ctx_w, tables.table_of)
    arrays = [array[table_set].tobytes() for array in per_set]
    return [*arrays, tables.bank_radius.tobytes(), tables.bank_dead.tobytes(), tables.bank_freq.tobytes()]


def some_channels(tables: EntropyTables) -> EntropyTables:
    """The tables for a few of the channels: those with a prediction first, then from everywhere."""
    predicted = np.flatnonzero(tables.mean_w.any(axis=(0, 2)))[: CHANNELS // 2]
    spread = np.linspace(0, tables.channels - 1, CHANNELS).astype(int)
    chosen = np.unique([*predicted, *spread])[:CHANNELS]
    order = np.argsort([np.argsort(row)[chosen] for row in tables.order], axis=1)
    return dataclasses.replace(
        tables,
        gain=tables.gain[chosen],
        recon=tables.recon[:, chosen],
        order=order.astype(np.uint16),
        mean_w=tables.mean_w[:, chosen],
        ctx_w=tables.ctx_w[:, chosen],
        table_of=tables.table_of[:, chosen],
        refine_w=tables.refine_w[:, chosen],
    )


def symbols_like(tables: EntropyTables, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """int16[C,H,W]: some planes zero, the others of a spread of their own."""
    spread = random.choice([0, 0, 0.3, 1, 8, 60], (tables.channels, 1, 1))
    values = np.rint(random.laplace(0, 1, (tables.channels, *shape)) * spread)
    return np.clip(values, -255, 255).astype(np.int16)


def write(folder: Path) -> None:
    """Write `tables.bin` for coder.c, and its corpus into `folder`/coder."""
    random = np.random.default_rng(1)
    corpus = folder / "coder"
    corpus.mkdir(parents=True, exist_ok=True)
    number = 0
    with (folder / "tables.bin").open("wb") as file:
        whole = [read_package(path).tables for path in shipped().values()]
        for tables in [*map(some_channels, whole), max(whole, key=lambda t: t.channels)]:
            for table_set in range(tables.sets):
                for array in table_arrays(tables, table_set):
                    file.write(len(array).to_bytes(4, sys.byteorder) + array)
                quality = int(np.flatnonzero(tables.set_of == table_set)[0]) + 1
                for height, width in SHAPES:
                    symbols = symbols_like(tables, (height, width), random)
                    data = coder.encode_symbols(symbols, tables, quality)
                    head = bytes((0, number, height - 1, width - 1))
                    (corpus / f"stream-{number}-{height}x{width}").write_bytes(head + data)
                number += 1
    for kind in (1, 2, 2, 3, 4, 5, 6):
        (corpus / f"noise-{kind}").write_bytes(bytes((kind,)) + random.bytes(2000))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
