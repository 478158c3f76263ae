"""Latents of a batch: mirrored, masked, weighed, kept by content, and read ahead, with a real VAE."""

import copy
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_vae
from trainer_rig import Ears

from lora_core.engines.diffusers.latents import Latents, Prepared, new_latents
from lora_core.engines.diffusers.noise import Purpose, generator, normal
from lora_core.engines.diffusers.pictures import Picture, read_pictures
from lora_core.engines.diffusers.pixels import read_pixels
from lora_core.errors import DatasetError, DiskFullError, ModelError
from lora_core.settings import RunConfig, loads_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(0)
    return tiny_vae().requires_grad_(False).eval()


def draw(path: Path, seed: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": 3, "RGBA": 4}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(values).save(path)
    path.with_suffix(".txt").write_text("a cat", "utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        draw(tmp_path / "in" / f"{number}.png", number)
    return tmp_path / "in"


def run_on(folder: Path, config: str = "", subset: str = "", more: str = "") -> RunConfig:
    return loads_run(
        f'pretrained_model_name_or_path = "base"\nseed = 7\n{config}',
        "[[datasets]]\nresolution = 64\nmin_bucket_reso = 32\nmax_bucket_reso = 128\nbucket_reso_steps = 16\n"
        f"[[datasets.subsets]]\nimage_dir = {json.dumps(str(folder))}\n{subset}\n{more}",
    )


def ready(run: RunConfig, vae: Any, ears: Ears | None = None) -> tuple[Latents, list[Picture]]:
    ears = ears or Ears()
    pictures = list(read_pictures(run, ears).training)
    latents = new_latents(run, vae, CPU, ears.note)
    latents.prepare(pictures, lambda _done: None)
    return latents, pictures


def equal(one: Prepared, other: Prepared) -> bool:
    return bool(torch.equal(one.latents, other.latents))


DISK = "cache_latents_to_disk = true"
NOT_KEPT = "cache_latents = false"


@pytest.mark.parametrize("config", ["", DISK, NOT_KEPT])
def test_a_mirrored_use_is_the_latent_of_the_mirrored_picture(
    folder: Path, tmp_path: Path, vae: Any, config: str
) -> None:
    latents, pictures = ready(run_on(folder, config, "flip_aug = true"), vae)
    plain = latents.batch(pictures[:1]).latents
    seen = [latents.batch(pictures[:1], (step, 0)).latents for step in range(30)]
    mirrored = [each for each in seen if not torch.equal(each, plain)]
    assert 5 < len(mirrored) < 25
    shown = np.asarray(Image.open(pictures[0].path))[:, ::-1].copy()
    spread = vae.encode(torch.from_numpy(shown).permute(2, 0, 1)[None] / 127.5 - 1).latent_dist
    chance = generator(read_pixels(pictures[0]).content, Purpose.LATENT, 1)
    expected = (spread.mean + spread.std * normal(chance, (4, 8, 8))) * vae.config.scaling_factor
    torch.testing.assert_close(mirrored[0], expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(each, mirrored[0]) for each in mirrored)


def test_every_way_of_keeping_latents_gives_the_same(folder: Path, vae: Any) -> None:
    found = []
    for config in ("", DISK, NOT_KEPT):
        latents, pictures = ready(run_on(folder, f"{config}\nvae_batch_size = 1", "flip_aug = true"), vae)
        found.append([latents.batch([each], (3, index)) for index, each in enumerate(pictures)])
    for memory, disk, at_use in zip(*found, strict=True):
        assert equal(memory, disk)
        assert equal(memory, at_use)


def test_chance_depends_on_the_seat_alone_and_reading_ahead_changes_nothing(folder: Path, vae: Any) -> None:
    subset = "flip_aug = true\nrandom_crop = true\ncolor_aug = true"
    draw(folder / "9.png", 9, (96, 64))
    asked, pictures = ready(run_on(folder, NOT_KEPT, subset), vae)
    ahead, same = ready(run_on(folder, NOT_KEPT, subset), vae)
    for step in range(4):
        batch = [step % 3], [3]
        ahead.expect([[same[index] for index in part] for part in batch], step)
        ahead.expect([[same[0]]], step + 1)  # another picture than the one that will be asked for
        for first, part in enumerate(batch):
            expected = asked.batch([pictures[index] for index in part], (step, first))
            assert equal(ahead.batch([same[index] for index in part], (step, first)), expected)
    uses = [asked.batch([pictures[3]], (step, 0)).latents for step in range(6)]
    assert len({each.numpy().tobytes() for each in uses}) > 3


@pytest.mark.parametrize("config", [DISK, NOT_KEPT])
def test_what_the_next_step_needs_is_read_before_it_is_asked_for(folder: Path, vae: Any, config: str) -> None:
    latents, pictures = ready(run_on(folder, f"{config}\nvae_batch_size = 1"), vae)
    expected = [latents.batch([each], (0, index)) for index, each in enumerate(pictures)]
    latents.expect([pictures], 0)
    begun = dict(latents._expected)
    latents.expect([pictures], 0)
    assert latents._expected == begun  # and each of it once
    for _use, reading in latents._expected.values():
        reading.result()
    shutil.rmtree(folder)
    assert all(equal(latents.batch([each], (0, n)), expected[n]) for n, each in enumerate(pictures))


def entries(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder / ".lora" / "latents").iterdir()}


def test_a_second_run_takes_what_the_first_left_on_the_disk(folder: Path, vae: Any) -> None:
    first, pictures = ready(run_on(folder, DISK), vae)
    written = entries(folder)
    assert len(written) == 3
    expected = first.batch(pictures, (0, 0))
    second, again = ready(run_on(folder, DISK), vae)
    assert entries(folder) == written
    assert equal(second.batch(again, (0, 0)), expected)


def test_an_edited_picture_is_never_learned_from_an_old_entry(folder: Path, vae: Any) -> None:
    old, pictures = ready(run_on(folder, DISK), vae)
    before = old.batch(pictures[:1])
    stamp = pictures[0].path.stat()
    image = Image.open(pictures[0].path).copy()
    image.putpixel((0, 0), (1, 2, 3))
    image.save(pictures[0].path)
    os.utime(pictures[0].path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # times of files tell nothing
    new, again = ready(run_on(folder, DISK), vae)
    assert not equal(new.batch(again[:1]), before)
    assert equal(new.batch(again[1:]), old.batch(pictures[1:]))
    assert len(entries(folder)) == 4


def test_entries_that_no_run_used_for_a_month_are_removed_and_used_ones_stay(folder: Path, vae: Any) -> None:
    ready(run_on(folder, DISK), vae)
    used = entries(folder)
    stale = folder / ".lora" / "latents" / ("0" * 64 + ".safetensors")
    stale.write_bytes(b"of a picture that was edited since")
    long_ago = time.time() - 40 * 86_400
    for path in stale.parent.iterdir():
        os.utime(path, (long_ago, long_ago))
    ready(run_on(folder, DISK), vae)
    assert entries(folder) == used


def test_another_vae_does_not_take_the_entries_of_the_first(folder: Path, vae: Any) -> None:
    ready(run_on(folder, DISK), vae)
    torch.manual_seed(1)
    ready(run_on(folder, DISK), tiny_vae().requires_grad_(False).eval())
    assert len(entries(folder)) == 6


@pytest.mark.parametrize("harm", ["cut", "flipped bit", "empty"])
def test_a_damaged_entry_is_made_anew_with_a_word(folder: Path, vae: Any, harm: str) -> None:
    one_by_one = f"{DISK}\nvae_batch_size = 1"  # in a batch the last bits depend on the others
    first, pictures = ready(run_on(folder, one_by_one), vae)
    expected = first.batch(pictures[:1])
    for path in (folder / ".lora" / "latents").iterdir():
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes({"cut": data[:-40], "flipped bit": data, "empty": b""}[harm])
    ears = Ears()
    assert equal(first.batch(pictures[:1]), expected)  # found while the run goes on
    second, again = ready(run_on(folder, one_by_one), vae, ears)
    assert equal(second.batch(again[:1]), expected)
    assert len([note for note in ears.notes if "damaged" in note]) == 2
    assert not [path for path in (folder / ".lora" / "latents").iterdir() if path.suffix != ".safetensors"]


def test_a_folder_that_cannot_be_written_to_is_told_with_the_setting(folder: Path, vae: Any) -> None:
    (folder / ".lora").write_text("in the way", "utf-8")
    with pytest.raises(DatasetError, match="cache_latents_to_disk"):
        ready(run_on(folder, DISK), vae)


@pytest.mark.parametrize("config", ["", NOT_KEPT])
def test_a_picture_that_changes_while_a_run_goes_on(folder: Path, vae: Any, config: str) -> None:
    ears = Ears()
    latents, pictures = ready(run_on(folder, config), vae, ears)
    before = latents.batch(pictures[:1], (0, 0))
    draw(pictures[0].path, 99)
    after = [latents.batch(pictures[:1], (step, 0)) for step in (1, 2)]
    told = [note for note in ears.notes if "0.png was changed" in note]
    if config == NOT_KEPT:  # it is read at each use, so the new one is learned, and that is said once
        assert not equal(after[0], before)
        assert len(told) == 1
    else:
        assert equal(after[0], before)
        assert not told
    assert equal(*after)


def test_masks_have_the_size_of_latents_and_turn_with_their_picture(
    folder: Path, tmp_path: Path, vae: Any
) -> None:
    values = np.zeros((64, 64), np.uint8)
    values[:, :12] = 255  # one latent and a half of eight
    for number in range(3):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "masks" / f"{number}.png")
    subset = f"flip_aug = true\nconditioning_data_dir = {json.dumps(str(tmp_path / 'masks'))}"
    for config in ("", DISK, NOT_KEPT):
        run = run_on(folder, f"masked_loss = true\n{config}", subset)
        latents, pictures = ready(run, vae)
        seen = set()
        for step in range(12):
            mask = latents.batch(pictures[:1], (step, 0)).mask
            assert mask is not None
            assert mask.shape == (1, 1, 8, 8)
            seen.add(tuple(mask[0, 0, 0].tolist()))
        row = (1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert seen == {row, row[::-1]}


def test_an_edited_mask_is_never_learned_from_an_old_entry(folder: Path, tmp_path: Path, vae: Any) -> None:
    (tmp_path / "masks").mkdir()
    subset = f"conditioning_data_dir = {json.dumps(str(tmp_path / 'masks'))}"
    seen = []
    for value in (255, 0, 255):
        for number in range(3):
            path = tmp_path / "masks" / f"{number}.png"
            Image.new("L", (64, 64), value).save(path)
            os.utime(path, (1e9, 1e9))  # times of files tell nothing
        latents, pictures = ready(run_on(folder, f"masked_loss = true\n{DISK}", subset), vae)
        mask = latents.batch(pictures[:1]).mask
        assert mask is not None
        seen.append(float(mask.mean()))
    assert seen == [1.0, 0.0, 1.0]


def test_pictures_without_a_mask_are_learned_whole_beside_those_with_one(
    folder: Path, tmp_path: Path, vae: Any
) -> None:
    clear = draw(tmp_path / "clear" / "a.png", 5, mode="RGBA")
    more = f"[[datasets.subsets]]\nimage_dir = {json.dumps(str(clear.parent))}\nalpha_mask = true"
    latents, pictures = ready(run_on(folder, "", "", more), vae)
    assert latents.batch(pictures[:3]).mask is None
    mask = latents.batch(pictures[2:]).mask
    assert mask is not None
    assert (mask[0] == 1).all()
    assert 0.3 < float(mask[1].mean()) < 0.7


def test_class_images_have_their_weight_and_the_others_one(folder: Path, tmp_path: Path, vae: Any) -> None:
    draw(tmp_path / "class" / "a.png", 5)
    more = f"[[datasets.subsets]]\nimage_dir = {json.dumps(str(tmp_path / 'class'))}\nis_reg = true"
    latents, pictures = ready(run_on(folder, "prior_loss_weight = 0.25", "", more), vae)
    assert latents.batch(pictures).weights.tolist() == [1.0, 1.0, 1.0, 0.25]
    assert latents.batch(pictures).size_ids.tolist()[0] == [64.0, 64.0, 0.0, 0.0, 64.0, 64.0]


@pytest.mark.parametrize(("dtype", "fix"), [(torch.float32, "repaired VAE"), (torch.bfloat16, "no_half_vae")])
def test_a_vae_that_makes_no_numbers_is_told_with_the_picture_and_the_way_out(
    folder: Path, dtype: torch.dtype, fix: str
) -> None:
    broken = tiny_vae().requires_grad_(False).eval().to(dtype)
    broken.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match=fix) as caught:
        ready(run_on(folder), broken)
    assert "0.png" in caught.value.what


def test_on_a_gpu_latents_made_at_use_are_looked_at_with_the_next_batch(folder: Path, vae: Any) -> None:
    latents, pictures = ready(run_on(folder, NOT_KEPT), copy.deepcopy(vae))
    latents.checks_late = True
    latents._vae.quant_conv.bias.fill_(float("nan"))
    assert latents.batch(pictures[:1], (0, 0)).latents.isnan().any()  # nothing was waited for
    with pytest.raises(ModelError) as caught:
        latents.batch(pictures[1:2], (1, 0))
    assert pictures[0].entry.name in caught.value.what


def test_a_broken_picture_costs_only_itself(folder: Path, vae: Any) -> None:
    path = draw(folder / "4.png", 4)
    path.write_bytes(path.read_bytes()[:-2000])  # the header is whole, the pixels are not
    latents, pictures = ready(run_on(folder), vae)
    assert [(picture.entry.name, why) for picture, why in latents.problems] == [
        ("4.png", "The file is damaged or cut off.")
    ]
    assert latents.batch(pictures[:3]).latents.shape == (3, 4, 8, 8)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB with pictures on it and no room beside them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    draw(disk / "0.png", 0)
    (disk / ".lora" / "latents").mkdir(parents=True)
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_told_and_nothing_half_written_is_left(full_disk: Path, vae: Any) -> None:
    with pytest.raises(DiskFullError):
        ready(run_on(full_disk, DISK), vae)
    assert list((full_disk / ".lora" / "latents").iterdir()) == []
