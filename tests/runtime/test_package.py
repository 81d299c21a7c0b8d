"""Codec packages: what is written is read, and nothing damaged, hostile or unfitting is believed."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from edgepress.runtime import BadPackageError, Codec, UnknownModelError
from edgepress.runtime import package as package_module
from edgepress.runtime.manifest import FORMAT, OLDEST
from edgepress.runtime.package import read_manifest, read_package, shipped


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuild(path, contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def altered(tiny_package, tmp_path):
    """`altered(change)`: the tiny package's path after `change` had its way with the manifest (as an object)."""

    def alter(change):
        contents = members(tiny_package)
        manifest = json.loads(contents["manifest.json"])
        change(manifest)
        return rebuild(tmp_path / "altered.epm", {**contents, "manifest.json": json.dumps(manifest)})

    return alter


def test_what_is_written_is_read(tiny_writer, tmp_path):
    written = tiny_writer(tmp_path / "a.epm", figures={"psnr": 30.5})
    read = read_package(tmp_path / "a.epm")
    assert (read.name, read.stride, read.latent_channels, read.zero_point) == ("tiny", 8, 40, 3)
    assert (read.encoder, read.decoder, read.model_id) == (written.encoder, written.decoder, written.model_id)
    assert read.tables.to_bytes() == written.tables.to_bytes()
    assert read.manifest["figures"] == {"psnr": 30.5}
    assert read.manifest == read_manifest(tmp_path / "a.epm")
    assert read.path == tmp_path / "a.epm"


def test_equal_packages_are_equal_files_and_the_model_id_tells_others_apart(tiny_writer, tmp_path):
    first = tiny_writer(tmp_path / "a.epm")
    tiny_writer(tmp_path / "b.epm")
    assert (tmp_path / "a.epm").read_bytes() == (tmp_path / "b.epm").read_bytes()
    other = tiny_writer(tmp_path / "c.epm", tables=tiny_writer.tables(bank=11))
    assert other.model_id != first.model_id
    # The encoder may improve without old files becoming unreadable.
    assert (
        tiny_writer(tmp_path / "d.epm", encoder=tiny_writer.encoder(pixels="int8")).model_id == first.model_id
    )


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, 7])
def test_names_that_cannot_be(tiny_writer, tmp_path, name):
    with pytest.raises(BadPackageError, match="name"):
        tiny_writer(tmp_path / "a.epm", name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("figures", [{"psnr": float("nan")}, {"array": np.zeros(2)}])
def test_figures_that_json_cannot_hold(tiny_writer, tmp_path, figures):
    with pytest.raises(BadPackageError, match="JSON"):
        tiny_writer(tmp_path / "a.epm", figures=figures)


def test_nothing_is_left_behind_when_writing_fails(tiny_writer, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        tiny_writer(tmp_path / "a.epm")
    assert caught.value.filename == str(tmp_path / "a.epm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["manifest.json", "encoder.tflite", "decoder.tflite", "entropy.bin"])
def test_a_missing_member_is_named(tiny_package, tmp_path, missing):
    contents = members(tiny_package)
    del contents[missing]
    with pytest.raises(BadPackageError, match=missing):
        read_package(rebuild(tmp_path / "a.epm", contents))


@pytest.mark.parametrize("changed", ["encoder.tflite", "decoder.tflite", "entropy.bin"])
def test_a_member_that_its_hash_does_not_fit(tiny_package, tmp_path, changed):
    contents = members(tiny_package)
    contents[changed] = contents[changed][:-1] + bytes([contents[changed][-1] ^ 1])
    with pytest.raises(BadPackageError, match=f"{changed} does not match"):
        read_package(rebuild(tmp_path / "a.epm", contents))


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "extra/../../evil", "extra\\..\\evil", "surprise.bin"]
)
def test_members_that_do_not_belong_there(tiny_package, tmp_path, name):
    with pytest.raises(BadPackageError, match="does not belong"):
        read_package(rebuild(tmp_path / "a.epm", {**members(tiny_package), name: b"x"}))


def test_extra_members_are_allowed(tiny_package, tmp_path):
    path = rebuild(tmp_path / "a.epm", {**members(tiny_package), "extra/training.csv": b"epoch,loss"})
    assert read_package(path).name == "tiny"


def test_zip_bombs_and_crowds(tiny_package, tmp_path, monkeypatch):
    contents = members(tiny_package)
    crowd = {f"extra/{number}": b"" for number in range(64)}
    with pytest.raises(BadPackageError, match="68 members"):
        read_package(rebuild(tmp_path / "a.epm", {**contents, **crowd}))
    bomb = rebuild(tmp_path / "b.epm", {**contents, "encoder.tflite": bytes((64 << 20) + 1)})
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(BadPackageError, match="more than the limit of 64 MB"):
        read_package(bomb)
    monkeypatch.setattr(package_module, "MAX_BYTES", 1 << 10)
    with pytest.raises(BadPackageError, match="larger than"):
        read_package(tiny_package)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tiny_package, tmp_path):
    path = rebuild(tmp_path / "a.epm", members(tiny_package))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("decoder.tflite", b"another")
    with pytest.raises(BadPackageError, match="two members"):
        read_package(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(tiny_package, tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.epm", "w", method) as archive:
        for name, content in members(tiny_package).items():
            archive.writestr(name, content)
    with pytest.raises(BadPackageError, match="deflate"):
        read_package(tmp_path / "a.epm")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_no_packages(tmp_path, content):
    (tmp_path / "a.epm").write_bytes(content)
    with pytest.raises(BadPackageError, match=r"a\.epm: not a codec package"):
        read_package(tmp_path / "a.epm")


@pytest.mark.parametrize("manifest", [b"\xff", b"[]", b"{", b"[" * 100_000, b"{}", b'{"format": 1e999}'])
def test_manifests_that_are_none(tiny_package, tmp_path, manifest):
    with pytest.raises(BadPackageError, match="manifest"):
        read_package(rebuild(tmp_path / "a.epm", {**members(tiny_package), "manifest.json": manifest}))


def test_a_newer_format_asks_for_an_upgrade(altered):
    with pytest.raises(BadPackageError, match="upgrade edgepress"):
        read_package(altered(lambda manifest: manifest.update(format=FORMAT + 1)))


def test_an_old_format_asks_for_a_new_package(altered):
    with pytest.raises(BadPackageError, match="edgepress optimize"):
        read_package(altered(lambda manifest: manifest.update(format=OLDEST - 1)))


@pytest.mark.parametrize("old", range(OLDEST, FORMAT))
def test_packages_from_before_values_were_refined_are_read(tiny_package, tmp_path, old):
    contents, new = members(tiny_package), read_package(tiny_package)
    manifest, added = json.loads(contents["manifest.json"]), new.tables.refine_w.size
    entropy = contents["entropy.bin"] = contents["entropy.bin"][:-added]
    manifest["members"]["entropy.bin"] = {"bytes": len(entropy), "sha256": sha256(entropy).hexdigest()}
    manifest.update(format=old, model_id=sha256(entropy + contents["decoder.tflite"]).hexdigest()[:6])
    path = rebuild(tmp_path / "a.epm", {**contents, "manifest.json": json.dumps(manifest)})
    read = read_package(path)
    assert not read.tables.refines.any()
    np.testing.assert_array_equal(read.tables.bank_freq, new.tables.bank_freq)
    manifest.update(format=FORMAT)  # which promises what is not there
    with pytest.raises(BadPackageError, match="entropy tables have"):
        read_package(rebuild(path, {**contents, "manifest.json": json.dumps(manifest)}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stride", 0),
        ("stride", 10**9),
        ("stride", "8"),
        ("stride", 8.0),
        ("stride", True),
        ("latent_channels", 0),
        ("latent_channels", 41),
        ("latent_channels", 10**9),
        ("zero_point", -129),
        ("zero_point", None),
        ("name", "../../x"),
        ("model_id", "000000"),
        ("model_id", "zz"),
        ("members", []),
        ("entropy", {"sets": 10**12, "bank": 10**12, "bank_values": 10**12}),
        ("entropy", {"sets": 2, "bank": 12, "bank_values": 1}),
        ("entropy", {"sets": -1, "bank": 12, "bank_values": 1}),
        ("provenance", "none"),
        ("description", 3),
    ],
)
def test_manifest_values_that_cannot_be(altered, field, value):
    with pytest.raises(BadPackageError):
        read_package(altered(lambda manifest: manifest.update({field: value})))


def test_damage_anywhere_in_the_file_is_noticed(tiny_package, tmp_path):
    """300 packages with a changed, cut or grown piece: an error, or (unused bytes of the zip) the same contents."""
    good, data = read_package(tiny_package), tiny_package.read_bytes()
    random = np.random.default_rng(1)
    path = tmp_path / "a.epm"
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        position = int(random.integers(len(data)))
        length = int(random.choice([1, 4, 64]))
        damaged[position : position + length] = random.bytes(int(random.choice([0, length, length + 3])))
        path.write_bytes(damaged)
        try:
            package = read_package(path)
        except BadPackageError:
            refused += 1
        else:
            assert (package.encoder, package.decoder, package.model_id) == (
                good.encoder,
                good.decoder,
                good.model_id,
            )
            assert package.tables.to_bytes() == good.tables.to_bytes()
    assert refused > 270


def unfit(tiny_writer):
    """Packages whose networks do not fit their manifests, and the complaint."""
    encoder, decoder = tiny_writer.encoder, tiny_writer.decoder
    return [
        ({"encoder": b"not a flatbuffer"}, "the encoder is no TFLite model"),
        ({"decoder": encoder()[:2000]}, "the decoder is no TFLite model"),
        ({"decoder": encoder()}, "decoder's input"),
        ({"encoder": decoder()}, "encoder's input"),
        ({"encoder": encoder(zero_point=4)}, "zero point 4"),
        ({"decoder": decoder(zero_point=4)}, "zero point 4"),
        ({"decoder": decoder(scale=0.04)}, "latent scale"),
        ({"decoder": decoder(block=4)}, "decoder's output"),
        ({"tables": tiny_writer.tables(channels=39)}, "decoder's input"),
    ]


@pytest.mark.parametrize("case", range(9))
def test_networks_that_do_not_fit(tiny_writer, tmp_path, case):
    changes, complaint = unfit(tiny_writer)[case]
    with pytest.raises(BadPackageError, match=complaint):
        tiny_writer(tmp_path / "a.epm", **changes)
        Codec.load(tmp_path / "a.epm")


def test_a_stride_that_the_networks_do_not_have(tiny_writer, tmp_path):
    tiny_writer(tmp_path / "a.epm", stride=16)
    codec = Codec.load(tmp_path / "a.epm")
    with pytest.raises(BadPackageError, match="encoder gave an output of shape"):
        codec.encode(np.zeros((16, 16, 3), np.uint8))


def test_models_are_found_by_name_path_and_id(tiny_writer, tmp_path, monkeypatch):
    monkeypatch.setattr(package_module, "__file__", str(tmp_path / "package.py"))
    with pytest.raises(UnknownModelError, match="no codec package is installed"):
        Codec.load()
    (tmp_path / "packages").mkdir()
    tiny_writer(tmp_path / "packages" / "conv3.epm")
    assert Codec.available() == ["conv3"]
    assert Codec.load().package.path == tmp_path / "packages" / "conv3.epm"
    tiny_writer(tmp_path / "packages" / "photo.epm", tables=tiny_writer.tables(bank=10))
    tiny_writer(tmp_path / "packages" / "a.epm", tables=tiny_writer.tables(bank=9))
    assert Codec.available() == ["photo", "a", "conv3"]
    assert Codec.load().package.path.stem == "photo"
    assert Codec.load("conv3").package.path.stem == "conv3"
    with pytest.raises(
        UnknownModelError, match=r"'nothing' is neither an installed package \(a, conv3, photo\)"
    ):
        Codec.load("nothing")

    from edgepress.runtime import decode

    image = np.full((8, 8, 3), 99, np.uint8)
    data = Codec.load("conv3").encode(image)
    assert np.array_equal(decode(data), Codec.load("conv3").decode_array(data))
    (tmp_path / "packages" / "conv3.epm").unlink()
    from edgepress.runtime.codec import codec_for

    codec_for.cache_clear()
    with pytest.raises(UnknownModelError, match="which is not installed"):
        decode(data)


def test_reading_stops_at_the_limit(tmp_path):
    """An endless device is refused instead of read for ever."""
    with pytest.raises(BadPackageError, match="larger than"):
        read_package("/dev/zero")


def test_a_lazy_codec_decodes_without_its_encoder(tmp_path):
    """A damaged encoder is nobody's business until something is encoded."""
    whole = shipped()["photo"]
    image = np.tile(np.arange(0, 240, dtype=np.uint8), (1050, 5))  # large enough for tiles
    data = Codec.load(whole).encode(image, 30)
    damaged = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        member = archive.getinfo("encoder.tflite")
    damaged[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0xFF
    path = tmp_path / "damaged.epm"
    path.write_bytes(damaged)

    codec = Codec.load(path, lazy=True)
    assert codec.decode(data).size == (1200, 1050)
    with pytest.raises(BadPackageError, match="damaged"):
        codec.encode(image)
    with pytest.raises(BadPackageError, match="damaged"):
        Codec.load(path)
