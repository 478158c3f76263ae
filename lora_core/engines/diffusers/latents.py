"""Pictures as the VAE's latents, made ready before a step needs them.

A latent is known by the content of its file and its cut, so nothing stale can be trained on. The
VAE's own spread is drawn once for each picture, from that content: the latent of a picture is the
same in every run, with or without a cache.

Covered: decoding ahead in threads, encoding several pictures of one size at a time, keeping latents in
memory or on the disk, encoding at each use when they are not kept, mirrored pictures, masks, weights and
sizes of a batch. Not covered: pixels (see `pixels.py`), files of the cache (see `latent_cache.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lora_core.engines.diffusers.cache_age import forget_unused
from lora_core.engines.diffusers.latent_cache import Encoded, LatentCache
from lora_core.engines.diffusers.noise import Purpose, generator, normal
from lora_core.engines.diffusers.pictures import Picture
from lora_core.engines.diffusers.pixels import (
    UNCHANGED,
    Change,
    Pixels,
    decode,
    random_offset,
    read_source,
)
from lora_core.engines.diffusers.threads import in_order
from lora_core.errors import DatasetError, ModelError
from lora_core.settings import RunConfig

_BATCH_PIXELS: Final = 2**20
"""Pixels in one pass of the VAE: four pictures of 512 x 512, about 3 GB with SD 1.x's VAE."""
_BATCH_PICTURES: Final = 64
_DECODERS: Final = 4

STEPS_AHEAD: Final = 2
"""Steps whose pictures are read while one is worked on; one alone would wait for each slow picture."""

Seat = tuple[int, int]
"""A step, and the number of a batch's first sample within it: what chance is drawn for."""
_Key = tuple[str, bool]
"""Digest of a picture, and whether it is mirrored."""
_Item = tuple[Pixels, bool]
_Fetched = tuple[str, Encoded | Pixels]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, ready for the UNet and the loss, on the training device."""

    latents: Tensor
    """(batch, channels, height, width), float32, scaled."""
    mask: Tensor | None
    """(batch, 1, height, width), 0 where nothing is learned to 1; None when no picture has a mask."""
    weights: Tensor
    """(batch), float32: what each picture's loss is multiplied by."""
    size_ids: Tensor
    """(batch, 6), float32; see `Picture.size_ids`."""


@dataclass(frozen=True, slots=True)
class _Use:
    """One use of one picture, chance decided."""

    picture: Picture
    flipped: bool
    change: Change


def new_latents(run: RunConfig, vae: Any, device: torch.device, note: Callable[[str], None]) -> "Latents":
    """The latents of a run, as its settings ask for them; `note` takes a sentence for the user."""
    precision = run.precision
    return Latents(
        vae,
        device,
        cached=precision.cache_latents or precision.cache_latents_to_disk,
        on_disk=LatentCache(vae) if precision.cache_latents_to_disk else None,
        seed=run.batch.seed,
        prior_loss_weight=run.batch.prior_loss_weight,
        vae_batch_size=precision.vae_batch_size,
        note=note,
    )


class Latents:
    """The latents of a run's pictures."""

    def __init__(
        self,
        vae: Any,
        device: torch.device,
        *,
        cached: bool,
        on_disk: LatentCache | None = None,
        seed: int = 0,
        prior_loss_weight: float = 1.0,
        vae_batch_size: int | None = None,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._vae, self._device, self._cached, self._on_disk = vae, device, cached, on_disk
        self._seed, self._prior, self._vae_batch, self._note = seed, prior_loss_weight, vae_batch_size, note
        self._known: dict[_Key, Encoded] = {}
        self._digest: dict[Picture, str] = {}
        self._prints: dict[_Key, bytes] = {}
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="pictures")
        self._expected: dict[Seat, tuple[_Use, Future[_Fetched]]] = {}
        self.checks_late = device.type != "cpu"
        """Whether latents that are made at each use are looked at with the next batch. On a GPU a look waits
        for all that was asked of it before."""
        self._unchecked: list[tuple[Picture, Tensor]] = []
        self.problems: list[tuple[Picture, str]] = []
        """Pictures that could not be decoded, each with the reason."""

    def prepare(self, pictures: Sequence[Picture], told: Callable[[int], None]) -> None:
        """Look at every picture, and encode it if latents are kept; `told` hears how many are done.

        While the VAE works on one batch, the pictures of the next ones are decoded. Broken pictures are
        listed in `problems` and cost only themselves.

        Raises:
            ModelError: the VAE turns a picture into something that is not a number.
            DiskFullError: the disk is full; what was prepared before is kept.
        """
        done = 0
        running: list[tuple[list[_Item], Tensor]] = []
        for batch in in_order(self._pool, self._look, _by_size(pictures, self._vae_batch)):
            missing: dict[_Key, _Item] = {}
            for picture, look in batch:
                if isinstance(look, DatasetError):
                    self.problems.append((picture, look.why))
                else:
                    self._digest[picture], items = look
                    missing |= {(item[0].digest, item[1]): item for item in items}
            new = [item for key, item in missing.items() if key not in self._known]
            for flipped in (False, True):
                if items := [item for item in new if item[1] is flipped]:
                    running.append((items, self._encode(items)))
                if len(running) > 1:  # a GPU works on the newest batch while the one before it is fetched
                    self._keep(*running.pop(0))
            self._tell_of_damage()
            done += len(batch)
            told(done)
        for encoded in running:
            self._keep(*encoded)
        if self._on_disk is not None:
            for cache in {self._on_disk.folder(picture) for picture in pictures}:
                forget_unused(cache)

    @property
    def kept(self) -> bool:
        """True when the VAE is not needed again after `prepare`."""
        return self._cached

    def content(self, picture: Picture) -> str:
        """Stands for what is learned of a picture, to the last bit of its latents where these are kept."""
        digest = self._digest[picture]
        return " ".join([digest, *(self._prints[key].hex() for key in self._keys(picture, digest))])

    def expect(self, batches: Sequence[Sequence[Picture]], step: int) -> None:
        """Begin to read what `batch` will be asked for at `step`, if that is not done; returns at once."""
        if self._cached and self._on_disk is None:
            return
        first = step - STEPS_AHEAD
        self._expected = {seat: found for seat, found in self._expected.items() if seat[0] >= first}
        for sample, picture in enumerate(picture for batch in batches for picture in batch):
            seat = step, sample
            if seat not in self._expected or self._expected[seat][0].picture is not picture:
                use = self._use(picture, seat)
                self._expected[seat] = use, self._pool.submit(self._fetch, use)

    def batch(self, pictures: Sequence[Picture], seat: Seat | None = None) -> Prepared:
        """A batch of pictures of one size; without a seat nothing is left to chance (for tests).

        Raises:
            DatasetError: a file that is read at each use is gone or damaged, or has another size now.
            ModelError: the VAE turns a picture into something that is not a number.
        """
        seats = [(seat[0], seat[1] + index) if seat else None for index in range(len(pictures))]
        uses = [self._use(picture, at) for picture, at in zip(pictures, seats, strict=True)]
        encoded = self._encoded(uses, seats)
        masks = [each.mask for each in encoded]
        mask = None
        if any(each is not None for each in masks):
            full = torch.ones(1, *encoded[0].latents.shape[1:])
            mask = self._send(torch.stack([full if each is None else each for each in masks]))
        weights = [self._prior if use.picture.subset.is_reg else 1.0 for use in uses]
        sizes = [use.picture.size_ids(flipped=use.flipped) for use in uses]
        return Prepared(
            latents=self._send(torch.stack([each.latents for each in encoded])),
            mask=mask,
            weights=self._send(torch.tensor(weights)),
            size_ids=self._send(torch.tensor(sizes, dtype=torch.float32)),
        )

    def _use(self, picture: Picture, seat: Seat | None) -> _Use:
        if seat is None:
            return _Use(picture, flipped=False, change=UNCHANGED)
        settings = picture.subset
        flipped = settings.flip_aug and generator(self._seed, Purpose.FLIP, *seat).random() < 0.5
        offset = color = None
        if settings.random_crop:
            offset = random_offset(picture.placement, generator(self._seed, Purpose.CROP, *seat))
        if settings.color_aug:
            color = generator(self._seed, Purpose.COLOR, *seat)
        return _Use(picture, flipped, Change(offset, color))

    def _check(self) -> None:
        """Look whether the latents of the last batch were numbers."""
        unchecked, self._unchecked = self._unchecked, []
        for picture, sound in unchecked:
            if not bool(sound):
                raise self._not_a_number(picture)

    def _made_at_use(self, items: Sequence[_Item]) -> list[Encoded]:
        """Latents that nobody keeps; they stay where the VAE works, and nothing is waited for."""
        found = self._encode(items)
        self._unchecked = [
            (pixels.picture, each.isfinite().all()) for (pixels, _), each in zip(items, found, strict=True)
        ]
        if not self.checks_late:
            self._check()
        return [Encoded(each, self._mask(item, each)) for item, each in zip(items, found, strict=True)]

    def _encoded(self, uses: Sequence[_Use], seats: Sequence[Seat | None]) -> list[Encoded]:
        self._check()
        if self._cached and self._on_disk is None:
            return [self._known[self._digest[use.picture], use.flipped] for use in uses]
        waiting = [self._fetching(use, seat) for use, seat in zip(uses, seats, strict=True)]
        found: dict[int, Encoded] = {}
        raw: dict[int, _Item] = {}
        for index, (use, future) in enumerate(zip(uses, waiting, strict=True)):
            digest, result = future.result()
            self._tell_of_change(use.picture, digest)
            if isinstance(result, Encoded):
                found[index] = result
            else:
                raw[index] = result, use.flipped
        self._tell_of_damage()
        items = list(raw.values())
        if items and self._on_disk is None:
            return self._made_at_use(items)
        if items:
            found |= dict(zip(raw, self._settled(items, self._encode(items)), strict=True))
            for index, item in raw.items():
                self._write(item, found[index])
        return [found[index] for index in range(len(uses))]

    def _fetching(self, use: _Use, seat: Seat | None) -> Future[_Fetched]:
        """What was begun for this seat, unless that was another picture."""
        if seat is not None and seat in self._expected:
            expected, future = self._expected.pop(seat)
            if expected.picture is use.picture:
                return future
        return self._pool.submit(self._fetch, use)

    def _tell_of_change(self, picture: Picture, digest: str) -> None:
        if digest != self._digest[picture]:
            self._digest[picture] = digest
            self._note(f"{picture.entry.name} was changed. From now on it is learned as it is now.")

    def _tell_of_damage(self) -> None:
        while self._on_disk is not None and self._on_disk.damaged:
            name = self._on_disk.damaged.pop().name[:12]
            self._note(f"The prepared picture {name} on the disk was damaged. It is made anew.")

    def _keys(self, picture: Picture, digest: str) -> list[_Key]:
        """Everything that is kept of a picture."""
        flips = [False, True] if picture.subset.flip_aug else [False]
        return [(digest, flipped) for flipped in flips] if self._cached else []

    def _look(self, picture: Picture) -> tuple[str, list[_Item]] | DatasetError:
        """Digest of a picture, and what of it is still to be encoded; runs in a thread."""
        try:
            source = read_source(picture)
            wanted = self._keys(picture, source.digest)
            if self._on_disk is not None:
                wanted = [key for key in wanted if not self._is_on_disk(picture, key)]
                if not wanted:
                    return source.digest, []
            pixels = decode(source)  # also where nothing is kept: a damaged picture is found before the run
        except DatasetError as error:
            return error
        return source.digest, [(pixels, flipped) for _, flipped in wanted]

    def _is_on_disk(self, picture: Picture, key: _Key) -> bool:
        entry = self._read(picture, key)
        if entry is not None:
            self._prints[key] = entry.fingerprint
        return entry is not None

    def _read(self, picture: Picture, key: _Key) -> Encoded | None:
        if self._on_disk is None:
            return None
        digest, flipped = key
        return self._on_disk.read(self._on_disk.path(picture, digest, flipped=flipped))

    def _fetch(self, use: _Use) -> tuple[str, Encoded | Pixels]:
        """A digest, and latents from the disk or pixels for the VAE; runs in a thread."""
        digest = self._digest[use.picture]
        entry = self._read(use.picture, (digest, use.flipped))
        if entry is not None:
            return digest, entry
        source = read_source(use.picture)
        return source.digest, decode(source, use.change)

    @torch.no_grad()
    def _encode(self, items: Sequence[_Item]) -> Tensor:
        """(items, channels, height, width) on the VAE's device, whose work may still be under way."""
        shown = [pixels.values[:, ::-1] if flipped else pixels.values for pixels, flipped in items]
        values = torch.from_numpy(np.stack(shown))
        # uint8 until here: a quarter of the memory, and exactly what ToTensor and Normalize(0.5) give.
        scaled = self._send(values, self._vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        spread = self._vae.encode(scaled.to(self._vae.dtype)).latent_dist
        noise = torch.stack(
            [
                normal(generator(pixels.content, Purpose.LATENT, int(flipped)), spread.mean.shape[1:])
                for pixels, flipped in items
            ]
        )
        drawn = spread.mean.float() + spread.std.float() * self._send(noise, self._vae.device)
        latents: Tensor = drawn * self._vae.config.scaling_factor
        return latents

    def _settled(self, items: Sequence[_Item], latents: Tensor) -> list[Encoded]:
        """The latents as numbers on the CPU, with their masks.

        Raises:
            ModelError: one of them is not a number.
        """
        found = []
        for item, each in zip(items, latents.cpu(), strict=True):
            if not bool(each.isfinite().all()):
                raise self._not_a_number(item[0].picture)
            found.append(Encoded(each, self._mask(item, each)))
        return found

    @staticmethod
    def _mask(item: _Item, latents: Tensor) -> Tensor | None:
        pixels, flipped = item
        if pixels.mask is None:
            return None
        whole = torch.from_numpy(pixels.mask[None].astype(np.float32) / 255)
        return adaptive_avg_pool2d(
            whole.flip(-1) if flipped else whole, (latents.shape[-2], latents.shape[-1])
        )

    def _keep(self, items: Sequence[_Item], latents: Tensor) -> None:
        for item, encoded in zip(items, self._settled(items, latents), strict=True):
            key = item[0].digest, item[1]
            self._prints[key] = encoded.fingerprint
            if self._on_disk is None:
                self._known[key] = encoded
            else:
                self._write(item, encoded)

    def _write(self, item: _Item, encoded: Encoded) -> None:
        if self._on_disk is not None:
            pixels, flipped = item
            path = self._on_disk.path(pixels.picture, pixels.digest, flipped=flipped)
            self._on_disk.write(path, encoded)

    def _not_a_number(self, picture: Picture) -> ModelError:
        half = self._vae.dtype != torch.float32
        return ModelError(
            f"The picture {picture.entry.name} could not be prepared.",
            why="The VAE turned it into something that is not a number"
            + (", because it works with half precision." if half else "."),
            fix="Turn on no_half_vae, or set vae to a repaired VAE."
            if half
            else "Set vae to a repaired VAE, or use another copy of the base model.",
        )

    def _send(self, values: Tensor, device: torch.device | None = None) -> Tensor:
        """`values` on the way to a device, the training device if none is named."""
        device = device or self._device
        if device.type == "cuda" and values.device.type == "cpu":
            values = values.pin_memory()  # only from there a copy runs beside the work of the GPU
        return values.to(device, non_blocking=True)


def _by_size(pictures: Sequence[Picture], together: int | None) -> Iterator[list[Picture]]:
    sizes = defaultdict(list)
    for picture in pictures:
        sizes[picture.placement.bucket].append(picture)
    for size, same in sorted(sizes.items()):
        count = together or min(_BATCH_PICTURES, max(1, _BATCH_PIXELS // size.pixels))
        yield from (same[start : start + count] for start in range(0, len(same), count))
