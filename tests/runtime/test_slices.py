"""Slices in networks (Cropping2D and repeated edges come as STRIDED_SLICE): checked before an interpreter sees them."""

import pytest

from edgepress.runtime import BadPackageError
from edgepress.runtime.interpreter import Network
from edgepress.runtime.reach import halo
from edgepress.runtime.tflitecheck import check_model


@pytest.fixture
def cropping(tiny_writer):
    """`cropping(begin, end, shape, ...) -> model`: one slice of an image int8 1x16x16x3 from the TFLite schema."""

    def build(begin, end, shape, begin_mask=9, end_mask=9, steps=(1, 1, 1, 1), **options):
        model = tiny_writer.builder()
        source = model.tensor((1, 16, 16, 3), "int8", 1 / 255, -128)
        lists = [model.tensor((len(v),), "int32", 1, data=v) for v in (begin, end, steps)]
        for index in lists:
            model.tensors[index].quantization = None
        sink = model.tensor(shape, "int8", 1 / 255, -128)
        given = {"beginMask": begin_mask, "endMask": end_mask, "ellipsisMask": 0, "newAxisMask": 0}
        given |= {"shrinkAxisMask": 0, "offset": False, **options}
        model.operator("STRIDED_SLICE", [source, *lists], sink, **given)
        model.codes[-1].version = 2
        return model.finish(source, sink)

    return build


@pytest.mark.parametrize(
    ("begin", "end", "shape", "masks"),
    [
        ((0, 1, 0, 0), (0, -1, -2, 0), (1, 14, 14, 3), {}),
        ((0, 0, 0, 0), (0, 1, 0, 0), (1, 1, 16, 3), {"begin_mask": 15, "end_mask": 13}),
        ((0, -1, 0, 0), (0, 0, 0, 0), (1, 1, 16, 3), {"begin_mask": 13, "end_mask": 15}),
    ],
)
def test_slices_that_layers_make_pass_and_run(cropping, begin, end, shape, masks):
    model = cropping(begin, end, shape, **masks)
    check_model(model, "encoder")
    assert Network(model).run((1, 16, 16, 3), lambda a: a.fill(0), lambda a: a.shape) == shape


@pytest.mark.parametrize(
    ("begin", "end", "shape", "more"),
    [
        ((0, 1, 0, 0), (0, -1, -1, 0), (1, 14, 14, 3), {}),  # another shape than the slice has
        ((0, 8, 0, 0), (0, 8, 16, 0), (1, 1, 16, 3), {}),  # empty
        ((0, 17, 0, 0), (0, 16, 16, 0), (1, 1, 16, 3), {}),
        ((0, -17, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {}),
        ((0, 0, 0, 0), (0, 17, 16, 0), (1, 17, 16, 3), {}),
        ((0, 0, 0), (0, 16, 16), (1, 16, 16, 3), {"steps": (1, 1, 1)}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 8, 16, 3), {"steps": (1, 2, 1, 1)}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"steps": (1, 0, 1, 1)}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"shrinkAxisMask": 1}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"ellipsisMask": 1}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"newAxisMask": 2}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"begin_mask": 1 << 20}),
        ((0, 0, 0, 0), (0, 16, 16, 0), (1, 16, 16, 3), {"offset": True}),
    ],
)
def test_others_are_refused(cropping, begin, end, shape, more):
    with pytest.raises(BadPackageError, match="the encoder is no TFLite model that can be trusted"):
        check_model(cropping(begin, end, shape, **more), "encoder")


def test_how_far_a_slice_sees(cropping):
    assert halo(cropping((0, 3, 1, 0), (0, -1, -1, 0), (1, 12, 14, 3)), 1, "encoder") == 3
    # Counted from the far end, the place depends on the size: such a network is not cut.
    assert halo(cropping((0, -3, 0, 0), (0, 0, 0, 0), (1, 3, 16, 3), end_mask=15), 1, "encoder") is None
