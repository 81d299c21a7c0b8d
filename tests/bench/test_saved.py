"""A benchmark's JSON comes back as it was written, and anything else is refused in one line."""

import json

import pytest

from edgepress.bench.report import to_dict, to_json
from edgepress.bench.saved import read_saved, saved_of
from edgepress.runtime import EdgepressError


def test_what_was_written_comes_back(measured, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(to_json(measured))
    saved = read_saved(file)
    assert saved == saved_of(to_dict(measured))
    assert saved.anchor == "jpeg" and [c.name for c in saved.others] == ["webp", "png"]
    for codec, curve in zip(saved.codecs, measured.curves, strict=True):
        assert codec.spec == curve.codec.spec and codec.exact == (codec.name == "png")
        for point, original in zip(codec.points, curve.points, strict=True):
            assert (point.quality, point.bpp, point.ssim) == (original.quality, original.bpp, original.ssim)
            assert [row.image for row in point.rows] == [row.image for row in original.rows]
            timing = measured.times[codec.name, point.quality]
            assert point.round_trip_ms == timing.round_trip_ms
    assert saved.timed_megapixels == pytest.approx(192 * 200 / 1e6)
    assert [m.byte_ratio for m in saved.matches] == [m.byte_ratio for m in measured.matches]


def test_other_machines_are_read_too(measured):
    found = to_dict(measured)
    found["devices"] = {"pi": to_dict(measured), "gone": {"error": "gone: no answer"}}
    saved = saved_of(found)
    assert saved.devices["pi"].codecs == saved.codecs and saved.failed_devices == {"gone": "gone: no answer"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "the file is not an object"),
        (b"{}", "no 'codecs'"),
        (b'{"codecs": [], "images": []}', "one or more contenders"),
        (b'{"codecs": [{"name": "a", "spec": "a"}], "images": []}', "one or more points"),
        (
            b'{"codecs": [{"name": "a", "spec": "a", "points": [{"quality": true}]}], "images": []}',
            "quality is not",
        ),
        (
            b'{"codecs": [{"name": "a", "spec": "a", "points": [{"quality": 1, "bpp": NaN}]}], "images": []}',
            "NaN",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(content, words, tmp_path):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(EdgepressError, match=words) as caught:
        read_saved(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_values_of_a_wrong_kind_are_named(measured):
    for change, where in (
        (lambda d: d["codecs"][1]["points"][0].update(bpp="much"), r"codecs\[1\]\.points\[0\]\.bpp"),
        (lambda d: d["images"][0].update(width=None), r"images\[0\]\.width"),
        (lambda d: d.update(anchor="tiff"), "anchor"),
        (lambda d: d["codecs"][1].update(name="jpeg"), "names of their own"),
    ):
        found = json.loads(to_json(measured))
        change(found)
        with pytest.raises(EdgepressError, match=where):
            saved_of(found)
