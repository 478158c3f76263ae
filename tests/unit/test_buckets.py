"""Buckets by the rules of sd-scripts: table sizes and placements measured on the engine itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.datasets.buckets import MAX_RESIZED_PIXELS, Buckets, Size, batches_per_epoch

A = Buckets(resolution=(1024, 1024), max_bucket_reso=2048)
B = Buckets(resolution=(1024, 1024), max_bucket_reso=2048, bucket_no_upscale=True)
C = Buckets(resolution=(512, 512))
D = Buckets(resolution=(1024, 1024), min_bucket_reso=512, max_bucket_reso=2048, bucket_reso_steps=32)

TABLE_512 = (
    "256x832 256x896 256x960 256x1024 320x704 320x768 384x640 448x576 512x512 576x448 640x384 704x320 "
    "768x320 832x256 896x256 960x256 1024x256"
)
HALF_TABLE_1024 = (
    "256x2048 320x2048 384x2048 448x2048 512x1856 512x1920 512x1984 512x2048 576x1664 576x1728 576x1792 "
    "640x1536 640x1600 704x1408 704x1472 768x1280 768x1344 832x1216 896x1152 960x1088"
)

# image, settings, bucket, resized, offset, loss in percent
VECTORS = [
    ("1024x1024", A, "1024x1024", "1024x1024", (0, 0), 0),
    ("1024x1024", B, "1024x1024", "1024x1024", (0, 0), 0),
    ("1024x1024", C, "512x512", "512x512", (0, 0), 0),
    ("1024x1024", D, "1024x1024", "1024x1024", (0, 0), 0),
    ("832x1216", A, "832x1216", "832x1216", (0, 0), 0),
    ("832x1216", B, "832x1216", "832x1216", (0, 0), 0),
    ("832x1216", C, "384x640", "438x640", (27, 0), 12.33),
    ("832x1216", D, "832x1216", "832x1216", (0, 0), 0),
    ("1536x2048", A, "896x1152", "896x1195", (0, 21), 3.60),
    ("1536x2048", B, "832x1088", "832x1109", (0, 10), 1.89),
    ("1536x2048", C, "448x576", "448x597", (0, 10), 3.52),
    ("1536x2048", D, "864x1184", "888x1184", (12, 0), 2.70),
    ("1920x1080", A, "1344x768", "1365x768", (10, 0), 1.54),
    ("1920x1080", B, "1344x768", "1365x768", (10, 0), 1.54),
    ("1920x1080", C, "640x384", "683x384", (21, 0), 6.30),
    ("1920x1080", D, "1344x768", "1365x768", (10, 0), 1.54),
    ("600x600", A, "1024x1024", "1024x1024", (0, 0), 0),
    ("600x600", B, "576x576", "600x600", (12, 12), 7.84),
    ("600x600", C, "512x512", "512x512", (0, 0), 0),
    ("600x600", D, "1024x1024", "1024x1024", (0, 0), 0),
    ("800x1200", A, "832x1216", "832x1248", (0, 16), 2.56),
    ("800x1200", B, "768x1152", "800x1200", (16, 24), 7.84),
    ("800x1200", C, "384x640", "427x640", (21, 0), 10.07),
    ("800x1200", D, "832x1248", "832x1248", (0, 0), 0),
    ("4000x500", A, "2048x256", "2048x256", (0, 0), 0),
    ("4000x500", B, "2560x320", "2560x320", (0, 0), 0),
    ("4000x500", C, "1024x256", "2048x256", (512, 0), 50),
    ("4000x500", D, "2048x512", "4096x512", (1024, 0), 50),
    ("1023x1025", A, "1024x1024", "1024x1026", (0, 1), 0.19),
    ("1023x1025", B, "960x1024", "1023x1025", (31, 0), 6.25),
    ("1023x1025", C, "512x512", "512x513", (0, 0), 0.19),
    ("1023x1025", D, "1024x1024", "1024x1026", (0, 1), 0.19),
]


def size(text: str) -> Size:
    width, height = text.split("x")
    return Size(int(width), int(height))


@pytest.mark.parametrize(("image", "buckets", "bucket", "resized", "offset", "loss"), VECTORS)
def test_an_image_lands_where_the_engine_puts_it(
    image: str, buckets: Buckets, bucket: str, resized: str, offset: tuple[int, int], loss: float
) -> None:
    placed = buckets.place(*size(image))
    assert placed is not None
    assert (placed.bucket, placed.resized, placed.offset) == (size(bucket), size(resized), offset)
    assert round(placed.loss * 100, 2) == pytest.approx(loss)


@pytest.mark.parametrize(
    ("resolution", "low", "high", "step", "entries"),
    [
        ((512, 512), 256, 1024, 64, 17),
        ((768, 768), 256, 1024, 64, 19),
        ((1024, 1024), 256, 1024, 64, 25),
        ((1024, 1024), 256, 2048, 64, 41),
        ((640, 960), 256, 1280, 64, 23),
        ((1024, 1024), 512, 2048, 32, 65),
        ((1024, 1024), 256, 2048, 16, 161),
    ],
)
def test_the_table_has_as_many_buckets_as_the_engine_makes(
    resolution: tuple[int, int], low: int, high: int, step: int, entries: int
) -> None:
    buckets = Buckets(
        resolution=resolution, min_bucket_reso=low, max_bucket_reso=high, bucket_reso_steps=step
    )
    assert len(buckets.table) == entries


def test_the_table_for_512_is_the_engines_own() -> None:
    assert C.table == tuple(size(text) for text in TABLE_512.split())


def test_the_table_for_1024_is_the_engines_own() -> None:
    half = [size(text) for text in HALF_TABLE_1024.split()]
    turned = [Size(height, width) for width, height in half]
    assert set(A.table) == {*half, *turned, Size(1024, 1024)}
    assert list(A.table) == sorted(A.table)


def test_limits_are_rounded_outwards_to_the_step() -> None:
    uneven = Buckets(resolution=(512, 512), min_bucket_reso=300, max_bucket_reso=1000)
    assert (uneven.lowest, uneven.highest) == (256, 1024)
    assert uneven.table == C.table


def test_without_buckets_every_image_is_cut_to_the_resolution() -> None:
    one = Buckets(resolution=(640, 384), enable_bucket=False)
    placed = one.place(1000, 1000)
    assert placed is not None
    assert (placed.bucket, placed.resized, placed.offset) == ((640, 384), (640, 640), (0, 128))


@pytest.mark.parametrize(("width", "height"), [(0, 500), (500, 0), (-1, 5)])
def test_an_image_without_pixels_has_no_place(width: int, height: int) -> None:
    assert A.place(width, height) is None


@pytest.mark.parametrize(("width", "height"), [(63, 500), (8000, 60), (60, 8000)])
def test_a_side_below_the_step_has_no_place_when_nothing_is_enlarged(width: int, height: int) -> None:
    assert B.place(width, height) is None


def test_a_strip_that_would_be_blown_up_to_gigabytes_has_no_place() -> None:
    assert A.place(1, 100_000) is None


def test_a_resolution_below_the_step_places_nothing_and_says_so() -> None:
    tiny = Buckets(resolution=(32, 32), min_bucket_reso=32, max_bucket_reso=32, bucket_reso_steps=64)
    assert tiny.place(100, 100) is None
    assert "bucket_reso_steps" in {problem.setting for problem in tiny.problems()}


def test_limits_that_the_engine_refuses_are_named_together() -> None:
    bad = Buckets(resolution=(512, 1024), min_bucket_reso=768, max_bucket_reso=768)
    assert [problem.setting for problem in bad.problems()] == ["min_bucket_reso", "max_bucket_reso"]
    assert A.problems() == B.problems() == C.problems() == D.problems() == ()


@given(
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    no_upscale=st.booleans(),
    step=st.sampled_from([16, 32, 64]),
)
def test_every_placement_covers_its_bucket(width: int, height: int, no_upscale: bool, step: int) -> None:
    buckets = Buckets(
        resolution=(512, 768), max_bucket_reso=1024, bucket_reso_steps=step, bucket_no_upscale=no_upscale
    )
    placed = buckets.place(width, height)
    if placed is None:
        return
    assert placed.bucket.width % step == placed.bucket.height % step == 0
    left, top, right, bottom = placed.box
    assert left >= 0
    assert top >= 0
    assert right <= placed.resized.width
    assert bottom <= placed.resized.height
    assert 0 <= placed.loss < 1
    assert placed.resized.pixels <= MAX_RESIZED_PIXELS


@given(width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_no_upscale_never_enlarges(width: int, height: int) -> None:
    placed = B.place(width, height)
    assert placed is None or (placed.resized.width <= width and placed.resized.height <= height)


def test_each_bucket_rounds_up_its_own_last_batch() -> None:
    assert batches_per_epoch({Size(512, 512): 3, Size(384, 640): 3}, batch_size=2) == 4


def test_an_epoch_without_images_has_no_batches() -> None:
    assert batches_per_epoch({}, batch_size=4) == 0


def test_a_limit_far_above_the_size_adds_no_bucket_and_costs_no_time() -> None:
    wide = Buckets(resolution=(512, 512), max_bucket_reso=10**18)
    assert wide.table == Buckets(resolution=(512, 512), max_bucket_reso=4096).table
