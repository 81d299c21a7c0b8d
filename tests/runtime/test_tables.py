"""Entropy tables: what is stored is read, and what cannot be is refused."""

from dataclasses import replace

import numpy as np
import pytest
from randomtables import random_symbols, random_tables

from edgepress.runtime import coder
from edgepress.runtime.errors import BadPackageError
from edgepress.runtime.tables import EntropyTables


def test_tables_survive_storage():
    tables = random_tables(4, channels=7, sets=3)
    again = EntropyTables.from_bytes(tables.to_bytes(), 3, 7, 6, tables.bank_freq.size)
    assert again.to_bytes() == tables.to_bytes()
    symbols = random_symbols(4, (7, 5, 5), 2.0)
    assert coder.encode_symbols(symbols, again, 9) == coder.encode_symbols(symbols, tables, 9)


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("step16", 5, 0),
        ("gain", 0, 0),
        ("round256", 0, 256),
        ("set_of", 99, 2),
        ("order", (0, 0), 9),
        ("table_of", (1, 2, 3), 6),
        ("bank_radius", 0, 200),
        ("bank_freq", 0, 0),
        ("bank_freq", 1, 16000),
    ],
)
def test_impossible_tables_are_refused(name, index, value):
    tables = random_tables(6)
    array = getattr(tables, name).copy()
    array[index] = value
    with pytest.raises(BadPackageError, match=name):
        replace(tables, **{name: array})


def test_storage_of_the_wrong_size_is_refused():
    tables = random_tables(6)
    data, values = tables.to_bytes(), tables.bank_freq.size
    for sizes in [
        (2, 4, 6, values + 1),
        (0, 4, 6, values),
        (2, 10**9, 6, values),
        (2, 4, True, values),
        ("2", 4, 6, 9),
    ]:
        with pytest.raises(BadPackageError):
            EntropyTables.from_bytes(data, *sizes)
    with pytest.raises(BadPackageError, match="bytes"):
        EntropyTables.from_bytes(data[:-1], 2, 4, 6, values)
    with pytest.raises(BadPackageError, match="recon"):
        replace(tables, recon=tables.recon.astype(np.int16))
