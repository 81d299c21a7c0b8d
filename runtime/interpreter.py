"""Running TFLite networks: the choice of an interpreter library, and interpreters that are kept per image size."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .errors import BadPackageError, EdgepressError

Result = TypeVar("Result")

# Distribution and module, in the order of preference: LiteRT runs int8 networks twice as fast as tflite-runtime.
_LIBRARIES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)

# A TFLite model of one LOGISTIC on one float: small, and yet it makes a library set up all that it needs.
_PROBE = bytes.fromhex(
    "1800000054464c3300000e00140010000c000800000004000e000000100000001c000000b400000003000000010000000800"
    "0000040004000400000001000000100000000c00140010000c00080004000c000000100000003c0000004000000044000000"
    "010000001000000000000a000c000000080004000a000000080000000c000000010000000100000001000000000000000100"
    "0000010000000100000000000000020000002000000004000000eeffffff0400000001000000010000000000060008000400"
    "0600000004000000010000000100000001000000100000000c000c000b000000000004000c0000000e0000000000000e"
)

_MAX_IDLE = 8  # interpreters kept for later, per network
_MAX_IDLE_BYTES = 128 << 20  # and the memory that they hold on to, as far as it can be foreseen:
_BYTES_PER_PIXEL = 40  # activations and the delegate's tables; 16 to 35 were measured


class Library(NamedTuple):
    """An interpreter library that works here: its distribution name and its `Interpreter` class."""

    name: str
    interpreter: Any

    @property
    def version(self) -> str:
        """The installed version of the distribution."""
        from importlib.metadata import version  # slow to import, and only reports ask

        return version(self.name)


class Tensor(NamedTuple):
    """A network's input or output: its number, shape (-1: any), dtype, and real value = scale * (stored - zero_point).

    `scale` is 0 for tensors that are not quantized.
    """

    number: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int


@functools.cache
def choose_interpreter() -> Library:
    """The first of LiteRT, tflite-runtime and TensorFlow that can construct an interpreter here.

    Importing is not enough: tflite-runtime 2.14 imports under numpy 2 and fails only when it is used.

    Raises:
        EdgepressError: none of them works; the message has each one's reason.
    """
    reasons = []
    for name, module in _LIBRARIES:
        interpreter, reason = _try_library(module)
        if interpreter is not None:
            return Library(name, interpreter)
        reasons.append(f"{name}: {reason}")
    raise EdgepressError(
        f"no TFLite interpreter works here ({'; '.join(reasons)}): pip install ai-edge-litert"
    )


def _try_library(module: str) -> tuple[Any, str]:
    """The module's Interpreter class, or None and why it does not work."""
    try:
        interpreter = importlib.import_module(module).Interpreter
        interpreter(model_content=_PROBE).allocate_tensors()
    except Exception as error:  # a broken library can fail in any way; then the next one has its turn
        return None, _first_line(error)
    return interpreter, ""


class _Idle(NamedTuple):
    """An interpreter between two runs: allocated for an input of `shape`, and about how many bytes it holds."""

    shape: tuple[int, ...]
    bytes: int
    interpreter: Any


class Network:
    """A TFLite model with one 4-dimensional input and output that runs at any height and width.

    Thread-safe: concurrent calls run at the same time, each on an interpreter of its own. Interpreters are kept for
    the shapes used last, within bounds of number and of memory, since making one costs about as much as running it
    on a small image. None is given another shape: it would not let go of the memory of the largest it ever had.

    Args:
        model: the TFLite flatbuffer.
        threads: threads for one run, at least 1.
        label: what the network is called in error messages.

    Raises:
        BadPackageError: the interpreter refuses the model, or it has other inputs and outputs.
    """

    def __init__(self, model: bytes, threads: int = 1, label: str = "network") -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise EdgepressError(f"threads must be an integer of at least 1, not {threads!r}")
        self._model = model
        self._threads = threads
        self._label = label
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []  # the last used comes last
        self._idle_bytes = 0
        fresh = self._construct()
        self.input = self._tensor("input", fresh.get_input_details())
        self.output = self._tensor("output", fresh.get_output_details())
        # Not allocated yet: the first image decides for which shape.
        self._fresh: list[Any] = [fresh]

    def run(
        self,
        shape: tuple[int, ...],
        fill: Callable[[np.ndarray], None],
        read: Callable[[np.ndarray], Result],
    ) -> Result:
        """Run the network on an input of `shape` (1,H,W,c).

        Args:
            shape: of the input.
            fill: writes the input into the array that it is given, the interpreter's own, of the input's dtype.
            read: what to make of the output (1,H',W',c'), the interpreter's own array, too, which it may overwrite. Neither
                may keep its array or a view of it.

        Returns:
            What `read` returned.

        Raises:
            BadPackageError: the network cannot work on this shape.
            EdgepressError: from `fill`, without its traceback; the interpreter is kept.
        """
        taken = self._take(shape)
        interpreter = taken.interpreter
        failure = None
        try:
            fill(interpreter.tensor(self.input.number)())
        except EdgepressError as error:
            # Whoever keeps it must not keep the array in its frames, with which the interpreter would refuse to run.
            failure = error.with_traceback(None)
            failure.__context__ = None
        if failure is not None:
            self._give_back(taken)
            raise failure
        try:
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BadPackageError(
                f"the {self._label} failed on an input of {shape}: {_first_line(error)}"
            ) from None
        output = interpreter.tensor(self.output.number)()
        _, height, width, _ = output.shape  # which some networks know only now
        if height * width * _BYTES_PER_PIXEL > taken.bytes:
            taken = taken._replace(bytes=height * width * _BYTES_PER_PIXEL)
        result = read(output)
        del output
        self._give_back(taken)
        return result

    def _construct(self) -> Any:
        library = choose_interpreter()
        try:
            return library.interpreter(model_content=self._model, num_threads=self._threads)
        except (ValueError, RuntimeError) as error:
            message = f"{library.name} {library.version} refuses the {self._label}: {_first_line(error)}"
            raise BadPackageError(message) from None

    def _tensor(self, what: str, details: list[dict[str, Any]]) -> Tensor:
        if len(details) != 1:
            raise BadPackageError(f"the {self._label} must have one {what}, not {len(details)}")
        detail = details[0]
        shape = tuple(int(side) for side in detail.get("shape_signature", detail["shape"]))
        if len(shape) != 4:
            raise BadPackageError(f"the {what} of the {self._label} must have 4 dimensions, not {len(shape)}")
        scale, zero_point = detail["quantization"]
        return Tensor(int(detail["index"]), shape, np.dtype(detail["dtype"]), float(scale), int(zero_point))

    def _take(self, shape: tuple[int, ...]) -> _Idle:
        with self._lock:
            for position in range(len(self._idle) - 1, -1, -1):
                if self._idle[position].shape == shape:
                    taken = self._idle.pop(position)
                    self._idle_bytes -= taken.bytes
                    return taken
            interpreter = self._fresh.pop() if self._fresh else None
        interpreter = interpreter or self._construct()
        try:
            interpreter.resize_tensor_input(self.input.number, shape)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadPackageError(
                f"the {self._label} cannot take an input of {shape}: {_first_line(error)}"
            ) from None
        return _Idle(shape, shape[1] * shape[2] * _BYTES_PER_PIXEL, interpreter)

    def _give_back(self, idle: _Idle) -> None:
        with self._lock:
            self._idle.append(idle)
            self._idle_bytes += idle.bytes
            while len(self._idle) > _MAX_IDLE or self._idle_bytes > _MAX_IDLE_BYTES:
                self._idle_bytes -= self._idle.pop(0).bytes


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
