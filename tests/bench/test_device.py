"""`--device` against a real sshd on the loopback address, with keys of its own; nothing is left there, whatever happens."""

import getpass
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image

from edgepress.bench import device as device_module
from edgepress.bench import deviceboot
from edgepress.bench.cli import bench
from edgepress.bench.codecs import make_codec, make_codecs
from edgepress.bench.device import Device, DeviceError, Job, run_on, run_on_all
from edgepress.bench.loadimages import BenchImage
from edgepress.runtime import EdgepressError

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.parametrize(
    ("text", "target", "port", "python"),
    [
        ("ssh://pi@raspberrypi", "pi@raspberrypi", None, "python3"),
        ("ssh://board/", "board", None, "python3"),
        ("ssh://a.b@10.0.0.7:2222/opt/py/bin/python3", "a.b@10.0.0.7", 2222, "/opt/py/bin/python3"),
        ("ssh://pi@[fe80::1]:22", "pi@[fe80::1]", 22, "python3"),
    ],
)
def test_addresses(text, target, port, python):
    assert Device.parse(text) == Device(target, port, python)


@pytest.mark.parametrize(
    "text",
    ["pi@raspberrypi", "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://pi@host:0", "ssh://h:99999"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(EdgepressError, match="is no device"):
        Device.parse(text)


class Server:
    """An sshd with its folder for temporary files, and what is in it."""

    def __init__(self, port: int, temporary: Path, config: Path, process: subprocess.Popen) -> None:
        self.port, self.temporary, self.config, self.process = port, temporary, config, process

    def device(self, python: str = sys.executable) -> Device:
        return Device.parse(f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{python}")

    def left(self) -> list[str]:
        """What is left in the folder, after some time for the other side to clean up."""
        for _ in range(150):
            if not (names := [path.name for path in self.temporary.iterdir()]):
                break
            time.sleep(0.1)
        return names


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """Starts servers whose commands are run by `wrapper`, a line of shell that ends in the command."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs the OpenSSH server and client")
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates its privileges
    started = []

    def start(wrapper: str = "") -> Server:
        number = len(started)
        temporary = folder / f"tmp{number}"
        temporary.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        script = folder / f"run{number}"
        script.write_text(f'export TMPDIR={temporary}\n{wrapper}\neval "$SSH_ORIGINAL_COMMAND"\n')
        settings = {
            "Port": port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": folder / "authorized",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "yes",
            "ForceCommand": f"/bin/sh {script}",
        }
        (folder / f"sshd{number}").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
        log = (folder / f"log{number}").open("wb")
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / f"sshd{number}"], stderr=log)
        started.append(process)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                pytest.skip(f"sshd does not start here: {(folder / f'log{number}').read_text()[-200:]}")
            time.sleep(0.1)
        return Server(port, temporary, folder, process)

    config = folder / "config"
    config.write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
        "StrictHostKeyChecking accept-new\nLogLevel ERROR\n"
    )
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    (programs / "ssh").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


def pictures():
    cut = skimage.data.astronaut()[:192, 150:342]
    return [BenchImage.from_array("a/astronaut", cut), BenchImage.from_array("tiny", cut[:40, :50])]


def test_the_figures_come_back_and_nothing_stays(server, tiny_package):
    codecs = [make_codec(spec) for spec in ("jpeg", "webp:method=0", str(tiny_package))]
    stages, counted = [], []

    def stage(name, steps):
        stages.append(name)
        return counted.append

    device = server.device()
    device.check()
    found = run_on(device, Job(codecs, pictures(), [20, 60, 90], repeats=2, workers=1), stage)
    assert [c["name"] for c in found["codecs"]] == [c.name for c in codecs]
    assert [c["spec"] for c in found["codecs"]] == [c.spec for c in codecs]
    assert [i["name"] for i in found["images"]] == ["a/astronaut", "tiny"]
    assert found["codecs"][2]["facts"]["macs_per_pixel"] > 0 and found["missing"] == []
    for codec, entry in zip(codecs, found["codecs"], strict=True):
        assert [p["quality"] for p in entry["points"]] == [20, 60, 90]
        for point in entry["points"]:
            assert point["encode_ms"] > 0 and point["decode_ms"] > 0
            assert point["rows"][0]["bytes"] == len(codec.encode(pictures()[0].pixels(), point["quality"]))
    assert found["bd_rate"]["webp:method=0"]["psnr"] is not None
    name = f"{device.name}: "
    assert (
        stages == [name + s for s in ("rate and quality", "equal SSIM", "memory", "time")]
        and sum(counted) > 18
    )
    assert server.left() == []


def test_the_command_merges_devices_and_keeps_the_rest_when_one_fails(server, start_server, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out.json"
    folder.mkdir()
    Image.fromarray(pictures()[0].pixels()).save(folder / "one.png")
    full = start_server("ulimit -f 100")
    device, other = server.device(), full.device()
    options = ["--images", folder, "--codec", "png", "--qualities", "50", "--repeats", "1", "--workers", "1"]
    options += [
        "--json",
        out,
        *(o for d in (device, other) for o in ("--device", f"ssh://{d.name}{d.python}")),
    ]
    with pytest.raises(EdgepressError, match=r"not measured everywhere.*cannot be written"):
        CliRunner().invoke(bench, [str(o) for o in options], catch_exceptions=False)
    found = json.loads(out.read_text())
    assert set(found["devices"]) == {device.name, other.name}
    there = found["devices"][device.name]
    assert there["environment"]["machine"] == found["environment"]["machine"]
    assert there["codecs"][0]["points"][0]["bytes"] == found["codecs"][0]["points"][0]["bytes"]
    assert "cannot be written" in found["devices"][other.name]["error"]
    assert server.left() == [] and full.left() == []


def test_a_full_disk_is_said(start_server):
    server = start_server("ulimit -f 100")
    found = run_on_all([server.device()], Job([make_codec("jpeg")], pictures(), [50], repeats=0))
    (error,) = found.values()
    assert "files cannot be written there" in error["error"] and server.left() == []


def test_no_python_there(server):
    with pytest.raises(DeviceError, match=r"127.0.0.1:\d+: there is no Python to run \(/no/such/python\)"):
        server.device("/no/such/python").check()


def test_an_incomplete_python_is_said_with_what_helps(server, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    with pytest.raises(
        DeviceError, match=r"lacks numpy, pillow, click, ai-edge-litert; make one .*pip install"
    ):
        server.device(str(tmp_path / "bare/bin/python")).check()
    assert server.left() == []


def test_nobody_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if shutil.which("ssh") is None:
        pytest.skip("needs the OpenSSH client")
    with pytest.raises(DeviceError, match="Connection refused") as caught:
        Device("127.0.0.1", port).check()
    assert "\n" not in str(caught.value)


def test_a_stranger_is_refused_without_a_question(server, tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text(
        f"#!/bin/sh\nexec /usr/bin/ssh -F none -o StrictHostKeyChecking=no -o IdentityFile={tmp_path}/none "
        f'-o IdentitiesOnly=yes -o UserKnownHostsFile={tmp_path}/known -o LogLevel=ERROR "$@"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DeviceError, match="Permission denied"):
        server.device().check()


@pytest.mark.parametrize("ending", ["silence", "end", "signal"])
def test_the_far_side_cleans_up_when_nobody_waits_any_more(tmp_path, ending):
    """What runs on the device, without ssh: a job that never ends, and a client that falls silent or goes."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        job = b"import time, sys\nprint('{\"stage\": 1}', flush=True)\ntime.sleep(600)\n"
        entry = tarfile.TarInfo("edgepress/bench/devicejob.py")
        entry.size = len(job)
        tar.addfile(entry, io.BytesIO(job))
    program = Path(deviceboot.__file__).read_bytes()
    if ending == "silence":
        program = program.replace(b"SILENCE = 60", b"SILENCE = 1")
    command = [sys.executable, "-c", device_module._START]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        for part in (program, archive.getvalue()):
            process.stdin.write(b"%d\n%b" % (len(part), part))
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(2)]
        assert b"folder" in lines[0] and b"stage" in lines[1] and list(tmp_path.iterdir())
        if ending == "end":
            process.stdin.close()
        elif ending == "signal":
            process.send_signal(signal.SIGHUP)
        process.wait(30)
    assert not list(tmp_path.iterdir())


def long_job():
    return Job([make_codec("jpeg")], [pictures()[0]], [10, 50, 90], repeats=1000, workers=1)


def test_a_device_that_vanishes_is_said(start_server):
    server = start_server()

    def stage(name, steps):
        if name.endswith("time"):
            cut(server)
        return lambda count: None

    with pytest.raises(DeviceError, match=r"ssh: .*closed"):
        run_on(server.device(), long_job(), stage)
    assert server.left() == []


def cut(server):
    """End the connections of a server: its child processes are killed, as when the network goes."""
    for pid in children(server.process.pid):
        os.kill(pid, signal.SIGKILL)


def children(pid):
    return [
        int(p)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for p in (task / "children").read_text().split()
    ]


def test_ctrl_c_leaves_nothing_there(server):
    device = server.device()
    code = (
        # A suite that runs in the background may ignore the signal, and its children with it.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import sys; from edgepress.bench.device import *; from edgepress.bench.codecs import make_codec; "
        "from edgepress.bench.loadimages import load_images; "
        "job = Job([make_codec('jpeg')], load_images(None, 1), [10, 90], repeats=1000, workers=1); "
        f"run_on(Device.parse('ssh://{device.name}{device.python}'), job, "
        "lambda name, steps: print(name, flush=True) or (lambda count: None))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any(line.endswith("time\n") for line in process.stdout)
        assert list(server.temporary.iterdir())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and server.left() == []


def test_contenders_that_cannot_go_there_are_missing(server, tmp_path):
    keras = pytest.importorskip("keras", reason="needs the train extra")
    model = tmp_path / "float.keras"
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(3, 1)(image)).save(model)
    codecs, _ = make_codecs(["jpeg", str(model)])
    found = run_on(server.device(), Job(codecs, pictures()[:1], [50], repeats=0, workers=1))
    assert [m["spec"] for m in found["missing"]] == [str(model)] and "not sent" in found["missing"][0][
        "reason"
    ]
