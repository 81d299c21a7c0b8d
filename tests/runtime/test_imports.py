"""Who may import whom: the runtime and the bench never need TensorFlow, and no room reaches where it must not."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = Path(__file__).parents[2]
MAY_IMPORT = {
    "runtime": ("edgepress.runtime",),
    "bench": ("edgepress.bench", "edgepress.runtime"),
    "train": ("edgepress.train", "edgepress.bench.metrics"),
    "optimize": ("edgepress.optimize", "edgepress.train", "edgepress.bench", "edgepress.runtime"),
}
HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization")


def imports(file, room):
    """Every module that a file imports, wherever it does so, with full names."""
    package = ["edgepress", room]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module in ("edgepress", "edgepress.bench"):  # the names may be modules
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def within(module, allowed):
    return any(module == name or module.startswith(name + ".") for name in allowed)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_room_imports_against_the_order(room):
    files = list((ROOMS / room).rglob("*.py"))
    assert files
    wrong = {
        (str(file.relative_to(ROOMS)), module)
        for file in files
        for module in imports(file, room)
        if module.split(".")[0] == "edgepress" and not within(module, MAY_IMPORT[room])
    }
    assert not wrong


@pytest.mark.parametrize("room", ["runtime", "bench"])
def test_no_heavy_library_is_imported_even_inside_a_function(room):
    for file in (ROOMS / room).rglob("*.py"):
        assert not [module for module in imports(file, room) if within(module, HEAVY)], file


BLOCKED = f"""
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
for room in sys.argv[1:]:
    package = importlib.import_module(room)
    for module in pkgutil.iter_modules(package.__path__, room + "."):
        importlib.import_module(module.name)
"""


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def test_runtime_and_bench_import_without_tensorflow():
    rooms = ["edgepress.runtime"]
    if importlib.util.find_spec("rich") and importlib.util.find_spec("scipy"):  # the bench extra
        rooms.append("edgepress.bench")
    result = run_python("-c", BLOCKED, *rooms)
    assert result.returncode == 0, result.stderr


def test_the_blocker_blocks():
    """Or the test above could not fail."""
    result = run_python("-c", BLOCKED, "keras.layers")
    assert "No module named 'keras'" in result.stderr


def test_importing_the_runtime_is_cheap():
    heavy = ("numpy", "PIL", "ai_edge_litert", "tflite_runtime", "click", *HEAVY)
    code = f"import sys, edgepress.runtime; print([name for name in {heavy!r} if name in sys.modules])"
    assert run_python("-c", code).stdout.strip() == "[]"


def test_all_names_are_there():
    import edgepress.runtime as runtime

    assert all(getattr(runtime, name) for name in runtime.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Kodec'"):
        runtime.Kodec  # noqa: B018
