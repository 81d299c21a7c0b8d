"""The same benchmark on another machine over ssh: sends what it needs, runs it there, brings back the figures.

Only the OpenSSH client is used, with its own configuration, keys and agent; it never asks for a password. The device
needs a Python with numpy, Pillow, click and a TFLite interpreter; edgepress itself is sent along, into a
temporary folder that is removed in the end, also when the connection breaks or the run is interrupted.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edgepress import runtime
from edgepress.runtime.errors import EdgepressError

from .bdrate import MEASURES, bd_rate
from .contender import ReferenceCodec
from .epmcodec import EpmCodec
from .loadimages import BenchImage
from .run import Stage, unwatched
from .saved import saved_of

_ADDRESS = re.compile(
    r"ssh://(?P<target>(?:[\w.][\w.+-]*@)?(?:[\w][\w.-]*|\[[0-9a-fA-F:.]+\]))(?::(?P<port>\d{1,5}))?(?:/|(?P<python>/.+))?"
)
_ALIVE_SECONDS = 5
_END_SECONDS = 10  # that the device has to remove its folder when the run is over or interrupted
_BOOT = Path(__file__).with_name("deviceboot.py")
# Reads a program of the length in the first line, and runs it: quotes inside it meet no shell, whichever is there.
_START = (
    "import sys;exec(compile(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())),'deviceboot','exec'))"
)


class DeviceError(EdgepressError):
    """A device could not be reached or did not finish; the message says which one and why."""


@dataclass(frozen=True)
class Device:
    """A machine that ssh reaches. python: the path of the interpreter to use there."""

    target: str  # as ssh takes it: user@host, host, or a name from its configuration
    port: int | None = None
    python: str = "python3"

    @property
    def name(self) -> str:
        """How reports call it."""
        return self.target + (f":{self.port}" if self.port else "")

    @classmethod
    def parse(cls, text: str) -> Device:
        """From ssh://[user@]host[:port][/path/of/python]. Raises EdgepressError for anything else."""
        found = _ADDRESS.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if not found or (port is not None and not 0 < port < 65536):
            raise EdgepressError(
                f"{text!r} is no device: give ssh://user@host, with :port and /path/of/python if needed"
            )
        return cls(found["target"], port, found["python"] or "python3")

    def command(self, remote: str) -> list[str]:
        """The ssh command line that runs `remote` there."""
        options = ["BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=5", "ServerAliveCountMax=4"]
        flags = [part for option in options for part in ("-o", option)]
        port = ["-p", str(self.port)] if self.port else []
        return ["ssh", "-T", *flags, *port, "--", self.target.replace("[", "").replace("]", ""), remote]

    def check(self) -> None:
        """Raise DeviceError when it cannot be reached or lacks something, before long work begins."""
        with closing(_converse(self, b"")) as messages:
            for message in messages:
                if "error" in message:
                    raise DeviceError(f"{self.name}: {message['error']}")


@dataclass(frozen=True)
class Job:
    """What to run; the fields are those of `run_bench`. The first contender is the anchor."""

    codecs: Sequence[ReferenceCodec]
    images: Sequence[BenchImage]
    qualities: Sequence[int] | None = None
    repeats: int = 5
    time_images: int | None = 4
    workers: int | None = None  # None: one per core of the device


def run_on(device: Device, job: Job, stage: Stage | None = None) -> dict[str, Any]:
    """The benchmark's result on a device, in the form of `report.to_dict`. Raises DeviceError when it did not finish.

    Float Keras models are not sent: TensorFlow is not for devices. They and contenders that the device lacks stand under
    `missing` in the result.
    """
    begin = stage or unwatched
    paths, archive = _pack(job)
    count: Callable[[int], None] | None = None
    with closing(_converse(device, archive)) as messages:
        for message in messages:
            if "error" in message:
                raise DeviceError(f"{device.name}: {message['error']}")
            if "stage" in message:
                count = begin(f"{device.name}: {message['stage']}", message["steps"])
            elif "count" in message and count:
                count(message["count"])
            elif "result" in message:
                return _localize(message["result"], paths, job)
    raise DeviceError(f"{device.name}: the connection ended before the benchmark did")


def run_on_all(devices: Sequence[Device], job: Job, stage: Stage | None = None) -> dict[str, dict[str, Any]]:
    """`run_on` for one device after the other, by their names; {"error": why} stands for one that did not finish."""
    return {device.name: _run_or_say(device, job, stage) for device in devices}


def _run_or_say(device: Device, job: Job, stage: Stage | None) -> dict[str, Any]:
    try:
        return run_on(device, job, stage)
    except DeviceError as error:
        return {"error": str(error)}


def _localize(result: dict[str, Any], paths: dict[str, str], job: Job) -> dict[str, Any]:
    """The result with the specs of this machine's files, and with BD-rates, whose package the device need not have."""
    for entry in [*result["codecs"], *result["missing"]]:
        entry["spec"] = paths.get(entry["spec"], entry["spec"])
    for codec in job.codecs:
        if not _sendable(codec):
            reason = f"{codec.name}: float Keras models are not sent to devices"
            result["missing"].append({"spec": codec.spec, "reason": reason})
    saved = saved_of(result)
    anchor = saved.anchor_codec.points
    result["bd_rate"] = {
        codec.name: {measure: bd_rate(anchor, codec.points, measure).percent for measure in MEASURES}
        for codec in saved.others
    }
    return result


def _converse(device: Device, archive: bytes) -> Generator[dict[str, Any], None, None]:
    """Send the first program and the archive (none: only ask what is lacking), and give the device's messages."""
    if shutil.which("ssh") is None:
        raise DeviceError("devices need the OpenSSH client: install it (Debian: apt install openssh-client)")
    command = device.command(f'{shlex.quote(device.python)} -c "{_START}"')
    with tempfile.TemporaryFile() as said:
        # A session of its own: Ctrl-C must not end ssh before the device has removed its folder.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        assert process.stdin and process.stdout
        over = threading.Event()
        sender = threading.Thread(target=_send, args=(process.stdin, archive, over), daemon=True)
        sender.start()
        last: dict[str, Any] = {}
        try:
            for line in process.stdout:
                last = _message(line)
                if last:
                    yield last
        finally:
            over.set()
            sender.join(_ALIVE_SECONDS + 1)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.returncode and "error" not in last and "result" not in last:
            said.seek(0)
            yield {"error": _reason(process.returncode, said.read().decode(errors="replace"), device)}


def _message(line: bytes) -> dict[str, Any]:
    """A line of the device; what a login script prints there is passed over."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(status: int, said: str, device: Device) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("INFO:")]
    last = lines[-1] if lines else "no message"
    if status == 255:
        return f"ssh: {last.removeprefix('ssh: ')}"
    if status in (126, 127):
        return f"there is no Python to run ({device.python}): {last}"
    return f"its Python ended with exit code {status}: {last}"


def _send(pipe: Any, archive: bytes, over: threading.Event) -> None:
    """Feed the device, then give it signs of life until all is over; the end of the pipe tells it to clean up."""
    program = _BOOT.read_bytes()
    try:
        pipe.write(b"%d\n%b" % (len(program), program))
        if archive:
            pipe.write(b"%d\n%b" % (len(archive), archive))
        pipe.flush()
        while archive and not over.wait(_ALIVE_SECONDS):
            pipe.write(b".")
            pipe.flush()
    except OSError:
        pass  # the device ended first, and its last message says why
    finally:
        with suppress(OSError):
            pipe.close()


def _sendable(codec: ReferenceCodec) -> bool:
    return not codec.spec.partition(":")[0].endswith(".keras")


def _pack(job: Job) -> tuple[dict[str, str], bytes]:
    """The specs on the device with those they stand for, and the archive: code, packages, images and job.json."""
    specs: list[list[str]] = []
    paths: dict[str, str] = {}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for room in (Path(runtime.__file__).parent, Path(__file__).parent):
            for file in sorted([*room.glob("*.py"), *room.glob("*.so"), *room.glob("*.[ch]")]):
                archive.add(file, f"edgepress/{room.name}/{file.name}", filter=_anonymous)
        for i, codec in enumerate(filter(_sendable, job.codecs)):
            if isinstance(codec, EpmCodec):
                # Under a name of its own kind, since files of one name may come from different folders.
                sent = f"packages/{i}/{codec.path.name}"
                archive.add(codec.path, sent, filter=_anonymous)
                specs.append([codec.name, sent])
                paths[sent] = codec.spec
            else:
                specs.append([codec.name, codec.spec])
        images = {}
        for i, image in enumerate(job.images):
            images[image.name] = f"images/{i}{image.path.suffix if image.path else '.png'}"
            _add(archive, images[image.name], _file_of(image))
        settings = {
            "specs": specs,
            "images": images,
            "qualities": list(job.qualities) if job.qualities else None,
            "repeats": job.repeats,
            "time_images": job.time_images,
            "workers": job.workers,
        }
        _add(archive, "job.json", json.dumps(settings).encode())
    return paths, content.getvalue()


def _file_of(image: BenchImage) -> bytes:
    if image.path:
        return image.path.read_bytes()
    file = io.BytesIO()
    Image.fromarray(image.pixels()).save(file, "PNG")
    return file.getvalue()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owners, which mean nothing there."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
