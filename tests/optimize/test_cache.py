"""Cached stages: found again, made anew when anything they depend on changes, damaged entries, runs that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edgepress.optimize import keys
from edgepress.optimize.cache import MARK, Cache
from edgepress.optimize.keys import Images, digest, fingerprint
from edgepress.optimize.step import FIGURES, Step


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def cache(tmp_path, warnings):
    return Cache(tmp_path / "cache", warnings.append)


def counted(cache, calls, name="stage", inputs=(), value=lambda: {"a": 1.5}):
    def make():
        calls.append(name)
        return value()

    return Step(cache, name, FIGURES, ("prune",), list(inputs), make)


def test_a_stage_is_made_once_and_then_found(cache, warnings):
    calls = []
    assert counted(cache, calls).get() == {"a": 1.5}
    assert counted(cache, calls).get() == {"a": 1.5}
    assert calls == ["stage"]
    assert (cache.made, cache.reused, warnings) == (["stage"], ["stage"], [])


def test_whatever_it_depends_on_makes_another_key(cache):
    def key(*inputs, name="stage", modules=("prune",)):
        return Step(cache, name, FIGURES, modules, list(inputs), dict).key

    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    first, second = Images([black, white]), Images([white, black])
    found = [
        *(key(), key(1), key(name="other"), key(modules=("prune", "convert"))),
        *(key(first), key(second), key(Images([black])), key(Images([black.reshape(4, 16, 3), white]))),
    ]
    assert len(set(found)) == len(found)
    assert key(first) == key(Images([black.copy(), white.copy()]))
    # And a stage that follows another one has another key when that one has.
    one, two = (Step(cache, "first", FIGURES, ("prune",), [n], dict) for n in (1, 2))
    assert key(one) != key(two)


def test_the_source_of_a_stage_and_of_what_it_imports_is_part_of_its_key(tmp_path, monkeypatch):
    rooms = {room: tmp_path / room for room in ("runtime", "bench", "train", "optimize")}
    for folder in rooms.values():
        folder.mkdir()
    (rooms["optimize"] / "top.py").write_text("def f():\n    from .middle import g\n    return g\n")
    (rooms["optimize"] / "middle.py").write_text("from edgepress.train.deep import (\n    h,\n)\n")
    (rooms["train"] / "deep.py").write_text("from edgepress.runtime import coder\n")
    (rooms["runtime"] / "coder.py").write_text("x = 1\n")
    (rooms["optimize"] / "work.py").write_text("from .stranger import y\n")
    (rooms["optimize"] / "stranger.py").write_text("y = 1\n")
    monkeypatch.setattr(keys, "_ROOMS", rooms)

    def now():
        fingerprint.cache_clear()
        return fingerprint("top")

    try:
        first = now()
        assert now() == first
        (rooms["optimize"] / "stranger.py").write_text("y = 2\n")
        assert now() == first
        (rooms["runtime"] / "coder.py").write_text("x = 2\n")
        second = now()
        assert second != first
        (rooms["optimize"] / "work.py").write_text("MANY = 2\n")
        third = now()
        assert third != second
        (rooms["optimize"] / "work_parts.py").write_text("MORE = 3\n")
        assert now() not in (second, third)
        third = now()
        monkeypatch.setattr(keys, "_version", lambda library: "another")
        assert now() != third
    finally:
        fingerprint.cache_clear()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],
        lambda content: b"",
        lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:],
        lambda content: b"x" * len(content),
    ],
)
def test_a_damaged_entry_is_made_again_with_one_line_of_warning(cache, warnings, damage):
    calls = []
    step = counted(cache, calls)
    step.get()
    path = cache.path("stage", step.key)
    path.write_bytes(damage(path.read_bytes()))
    assert counted(cache, calls).get() == {"a": 1.5}
    assert calls == ["stage", "stage"]
    assert len(warnings) == 1 and str(path) in warnings[0] and "\n" not in warnings[0]
    assert counted(cache, calls).get() == {"a": 1.5}
    assert len(calls) == 2


def test_an_entry_that_is_whole_but_of_no_use_is_made_again(cache, warnings):
    calls = []
    step = counted(cache, calls)
    cache.write("stage", step.key, {"figures.json": b"no json"})
    assert step.get() == {"a": 1.5}
    cache.write("stage", step.key, {"something else": b""})
    assert counted(cache, calls).get() == {"a": 1.5}
    assert len(calls) == len(warnings) == 2


def test_only_what_is_missing_is_made(cache):
    calls = []

    def chain():
        first = counted(cache, calls, "first")
        return first, counted(cache, calls, "second", [first], lambda: {**first.get(), "b": 2})

    first, second = chain()
    assert second.get() == {"a": 1.5, "b": 2}
    assert calls == ["second", "first"]
    cache.path("first", first.key).unlink()
    assert chain()[1].get() == {"a": 1.5, "b": 2}  # nothing before it is even looked for
    assert len(calls) == 2


def test_what_another_stage_made_along_the_way(cache):
    calls = []
    counted(cache, calls).put({"a": 3})
    assert counted(cache, calls).get() == {"a": 3}
    counted(cache, calls).put({"a": 4})  # known already
    assert counted(cache, calls).get() == {"a": 3}
    assert calls == []


def test_what_a_killed_run_left_unfinished_is_swept_away(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    old, young = folder / ".0011.tmp", folder / ".2233.tmp"
    for file in (old, young):
        file.write_bytes(MARK)
    os.utime(old, (time.time() - 7200,) * 2)
    Cache(folder)
    assert not old.exists() and young.exists()


KILLED = """
import sys, time
from pathlib import Path
from edgepress.optimize.cache import Cache
from edgepress.optimize.step import FIGURES, Step

cache = Cache(Path(sys.argv[1]))
before = None
for name in ("one", "two", "three"):
    def make(name=name):
        print(name, flush=True)
        if name == "three" and len(sys.argv) > 2:
            time.sleep(60)
        return name
    before = Step(cache, name, FIGURES, ("prune",), [before], make)
    before.get()
print("done", flush=True)
"""


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cache")]
    run = subprocess.Popen([*command, "slowly"], stdout=subprocess.PIPE, text=True)
    assert [run.stdout.readline().strip() for _ in range(3)] == ["one", "two", "three"]
    run.send_signal(signal.SIGKILL)
    run.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.split() == ["three", "done"]


def test_keys_are_hashes_of_content():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    assert digest(1) != digest("1")
    with pytest.raises(TypeError):
        digest(object())
