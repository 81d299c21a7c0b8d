"""Hostile packages with the right hashes: damaged networks, tables, manifests and archives end in BadPackageError."""

import io
import json
import random
import stat
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress.runtime import BadPackageError, CorruptStreamError, EdgepressError, coder, purecoder
from edgepress.runtime import stream as stream_module
from edgepress.runtime.manifest import parse_manifest
from edgepress.runtime.package import read_package
from edgepress.runtime.tables import EntropyTables
from edgepress.runtime.tflitecheck import check_model

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def schema():
    return pytest.importorskip("ai_edge_litert.schema_py_generated")


@pytest.fixture(scope="module")
def networks(tiny_writer):
    return {"encoder": tiny_writer.encoder(), "decoder": tiny_writer.decoder()}


def edited(schema, model, change):
    """A model after `change(its only subgraph, the model as objects)`."""
    import flatbuffers

    objects = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    change(objects.subgraphs[0], objects)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(objects.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_good_models_pass(tiny_writer):
    for pixels in ("uint8", "int8", "float32"):
        check_model(tiny_writer.decoder(pixels), "decoder")
    for pixels in ("uint8", "int8"):
        check_model(tiny_writer.encoder(pixels), "encoder")


def set_scale(value):
    def change(graph, model):
        graph.tensors[graph.operators[0].outputs[0]].quantization.scale = [value]

    return change


def of_operator(number, **values):
    def change(graph, model):
        for name, value in values.items():
            setattr(graph.operators[number], name, value)

    return change


def of_options(number, **values):
    def change(graph, model):
        for name, value in values.items():
            setattr(graph.operators[number].builtinOptions, name, value)

    return change


def custom_operation(graph, model):
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = b"FlexRun"


def second_subgraph(graph, model):
    model.subgraphs.append(graph)


def variable(graph, model):
    graph.tensors[0].isVariable = True


def other_type(graph, model):
    graph.tensors[0].type = 5  # strings


def huge_shape(graph, model):
    graph.tensors[0].shape = [1, 1 << 30, 1 << 30, 3]


def short_constant(graph, model):
    next(buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 9).data = [
        1,
        2,
        3,
    ]


def cycle(graph, model):
    graph.operators[0].inputs, graph.operators[1].outputs = (
        [graph.operators[1].outputs[0]],
        graph.operators[1].outputs,
    )


def no_output(graph, model):
    graph.outputs = [len(graph.tensors) + 5]


# The decoder's operations: a convolution, depth_to_space, a conversion.
CRAFTED = {
    "an operation's input is missing": of_operator(0, inputs=[-1, 0, 0]),
    "an operation's input is out of range": of_operator(0, inputs=[1 << 30, 0, 0]),
    "an operation has no inputs": of_operator(0, inputs=[]),
    "an operation has no output": of_operator(1, outputs=[]),
    "an operation's code is out of range": of_operator(0, opcodeIndex=99),
    "an operation has no options": of_operator(0, builtinOptions=None, builtinOptionsType=0),
    "a stride of 0": of_options(0, strideH=0, strideW=0),
    "a dilation of 0": of_options(0, dilationWFactor=0),
    "a stride beyond all": of_options(0, strideH=(1 << 31) - 1),
    "an unknown padding": of_options(0, padding=7),
    "an unknown activation": of_options(0, fusedActivationFunction=99),
    "a block of 0": of_options(1, blockSize=0),
    "a block that does not fit": of_options(1, blockSize=7),
    "a scale of 0": set_scale(0.0),
    "a scale that is no number": set_scale(float("nan")),
    "a scale beyond all": set_scale(1e30),
    "a custom operation": custom_operation,
    "two subgraphs": second_subgraph,
    "a variable": variable,
    "strings": other_type,
    "a huge shape": huge_shape,
    "a short constant": short_constant,
    "a cycle": cycle,
    "an output out of range": no_output,
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_models(schema, networks, what):
    """Nothing of this reaches an interpreter, which it could crash."""
    model = edited(schema, networks["decoder"], CRAFTED[what])
    with pytest.raises(
        BadPackageError, match="the decoder is no TFLite model that can be trusted: "
    ) as caught:
        check_model(model, "decoder")
    assert "\n" not in str(caught.value)


@FAST
@given(data=st.data())
def test_damaged_models_are_refused_or_as_good(networks, data):
    """Any bytes changed in a model: an error of ours, or a model that passes; never another exception."""
    name = data.draw(st.sampled_from(sorted(networks)))
    model = bytearray(networks[name])
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(model) - 1))
        model[where : where + 4] = data.draw(st.binary(min_size=1, max_size=4))
    try:
        check_model(bytes(model), name)
    except EdgepressError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_truncated_models(networks, name):
    model = networks[name]
    for end in [*range(0, 64), *range(64, len(model), 97)]:
        with pytest.raises(BadPackageError):
            check_model(model[:end], name)


def test_tables_of_random_sizes_and_values(tiny_writer):
    """Damaged tables are refused, or they code symbols without loss."""
    good = tiny_writer.tables()
    stored, source, accepted = good.to_bytes(), random.Random(5), 0
    symbols = np.array([-255, -3, 0, 1, 2, 255] * 4, np.int16)
    symbols = np.broadcast_to(symbols.reshape(4, 6), (good.channels, 4, 6)).copy()
    for _ in range(200):
        damaged = bytearray(stored)
        where = source.randrange(len(damaged))
        damaged[where] ^= 1 << source.randrange(8)
        sizes = [good.sets, good.channels, good.bank, good.bank_freq.size]
        if source.random() < 0.2:
            sizes[source.randrange(4)] = source.choice((0, 1, 7, 1 << 20, 1 << 31))
        try:
            tables = EntropyTables.from_bytes(bytes(damaged), *sizes)
        except BadPackageError:
            continue
        accepted += 1
        data = coder.encode_symbols(symbols, tables, 80)
        assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, 80), symbols)
    assert accepted > 20


def symbols_or_none(decode):
    """The symbols as a list, or None for a stream that is refused."""
    try:
        return decode().tolist()
    except CorruptStreamError:
        return None


@FAST
@given(data=st.data())
def test_both_coders_agree_on_damaged_streams(tiny_writer, data):
    """The C coder (where it was built) and the Python one refuse the same streams and read the same symbols."""
    tables = tiny_writer.tables()
    shape = (tables.channels, 2, 3)
    random_ = np.random.default_rng(3)
    symbols = np.rint(random_.laplace(0, 1, shape) * random_.choice([0, 1, 9], (shape[0], 1, 1))).astype(
        np.int16
    )
    payload = bytearray(coder.encode_symbols(symbols, tables, 70))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(payload) - 1))
        payload[where : where + 2] = data.draw(st.binary(min_size=0, max_size=3))
    plan = purecoder.Plan(tables, tables.set_for(70))
    native = symbols_or_none(lambda: coder.decode_symbols(bytes(payload), shape, tables, 70))
    assert native == symbols_or_none(lambda: purecoder.decode(plan, bytes(payload), shape))


@FAST
@given(st.binary(max_size=60))
def test_any_bytes_as_a_stream(body):
    """Nothing but our error, or a stream whose checksum is right."""
    for data in (
        body,
        b"EPX\x20" + body,
        b"EPX\x20" + body + zlib.crc32(b"EPX\x20" + body).to_bytes(4, "little"),
    ):
        try:
            stream_module.parse(data)
        except CorruptStreamError:
            continue
        assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@FAST
@given(data=st.data())
def test_manifests_with_other_values(tiny_package, data):
    """Any JSON in any place of the manifest: accepted where it may be, BadPackageError where it may not."""
    with zipfile.ZipFile(tiny_package) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    place = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    try:
        parse_manifest(json.dumps(manifest).encode())
    except BadPackageError as error:
        assert "\n" not in str(error)


def archive_of(tiny_package, change):
    """The tiny package's bytes, each member written after `change(entry)`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(tiny_package) as good, zipfile.ZipFile(buffer, "w") as archive:
        for name in good.namelist():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            change(entry)
            archive.writestr(entry, good.read(name))
    return buffer.getvalue()


def test_a_link_in_the_archive_is_only_its_bytes(tiny_package, tmp_path):
    """Nothing is extracted, so an entry that claims to be a symbolic link is read like any other."""

    def link(entry):
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    (tmp_path / "a.epm").write_bytes(archive_of(tiny_package, link))
    assert read_package(tmp_path / "a.epm").encoder == read_package(tiny_package).encoder
    assert [path.name for path in tmp_path.iterdir()] == ["a.epm"]


def patched(data, offset_in_entry, value):
    """The bytes of an archive with a field of every entry (in the directory and before its content) set."""
    result = bytearray(data)
    for magic, shift in ((b"PK\x01\x02", 2), (b"PK\x03\x04", 0)):
        where = result.find(magic)
        while where >= 0:
            at = where + offset_in_entry + shift
            result[at : at + len(value)] = value
            where = result.find(magic, where + 4)
    return bytes(result)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (6, b"\x01\x00"),  # flags: encrypted
        (6, b"\x20\x00"),  # flags: patched data
        (8, b"\x63\x00"),  # method: AES
        (8, b"\x09\x00"),  # method: deflate64
        (22, b"\xff\xff\xff\x7f"),  # size: 2 GB
        (14, b"\x00\x00\x00\x00"),  # CRC
    ],
)
def test_archives_that_are_not_as_they_say(tiny_package, tmp_path, offset, value):
    good = archive_of(tiny_package, lambda entry: None)
    (tmp_path / "a.epm").write_bytes(patched(good, offset, value))
    with pytest.raises(BadPackageError) as caught:
        read_package(tmp_path / "a.epm")
    assert "\n" not in str(caught.value)
