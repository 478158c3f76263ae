"""Pictures as the VAE's latents, encoded before the first step and kept in memory.

A latent is known by the content of its file and its cut, so nothing stale can be trained on. The
VAE's own spread is drawn once for each picture, from that content: the latent of a picture is the
same in every run, with or without the cache.

Covered: decoding ahead in threads, encoding several pictures of one size at a time, the memory
cache, encoding at each use when `cache_latents` is off. Not covered: a cache on disk.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lora_core.engines.diffusers.noise import Purpose, generator, normal
from lora_core.engines.diffusers.pictures import Picture, Pixels, read_pixels
from lora_core.errors import DatasetError, ModelError

_BATCH_PIXELS: Final = 2**20
"""Pixels in one pass of the VAE: four pictures of 512 x 512, about 3 GB with SD 1.x's VAE."""
_BATCH_PICTURES: Final = 64
_DECODERS: Final = 4
_BATCHES_AHEAD: Final = 2


class Latents:
    """The latents of a run's pictures, (channels, height, width) each, on the CPU."""

    def __init__(self, vae: Any, device: torch.device, *, cached: bool) -> None:
        self._vae, self._device, self._cached = vae, device, cached
        self._known: dict[int, Tensor] = {}
        self._content: dict[Picture, int] = {}
        self.problems: list[tuple[Picture, str]] = []
        """Pictures that could not be decoded, each with the reason."""

    def prepare(self, pictures: Sequence[Picture], told: Callable[[int], None]) -> None:
        """Decode every picture, and encode it if latents are kept; `told` hears how many are done.

        Broken pictures are listed in `problems` and cost only themselves.

        Raises:
            ModelError: the VAE turns a picture into something that is not a number.
        """
        done = 0
        for batch in _decoded(_by_size(pictures)):
            pixels = []
            for picture, decoded in batch:
                if isinstance(decoded, DatasetError):
                    self.problems.append((picture, decoded.why))
                else:
                    self._content[picture] = decoded.content
                    pixels.append(decoded)
            new = {each.content: each for each in pixels if each.content not in self._known}
            if self._cached and new:
                encoded = self._encode(list(new.values()))
                self._known.update(zip(new, encoded, strict=True))
            done += len(batch)
            told(done)

    def content(self, picture: Picture) -> int:
        """What stands for the picture's pixels; two pictures with the same pixels have the same."""
        return self._content[picture]

    def batch(self, pictures: Sequence[Picture]) -> Tensor:
        """(pictures, channels, height, width) on the training device; all are of one size.

        Raises:
            DatasetError: without the cache, a file has changed since it was listed.
        """
        if self._cached:
            latents = [self._known[self.content(picture)] for picture in pictures]
        else:
            latents = list(self._encode([read_pixels(picture) for picture in pictures]))
        return torch.stack(latents).to(self._device, non_blocking=True)

    @torch.no_grad()
    def _encode(self, pixels: Sequence[Pixels]) -> Tensor:
        values = torch.from_numpy(np.stack([each.values for each in pixels]))
        # uint8 until here: a quarter of the memory, and exactly what ToTensor and Normalize(0.5) give.
        scaled = values.to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
        spread = self._vae.encode(scaled).latent_dist
        noise = torch.stack(
            [normal(generator(each.content, Purpose.LATENT), spread.mean.shape[1:]) for each in pixels]
        )
        latents: Tensor = (
            spread.mean + spread.std * noise.to(self._device)
        ) * self._vae.config.scaling_factor
        if not bool(latents.isfinite().all()):
            raise ModelError(
                "The pictures could not be prepared.",
                why="The base model's VAE turned one of them into something that is not a number.",
                fix="Use another copy of the base model, or one with a repaired VAE.",
            )
        return latents.cpu()


def _decoded(batches: Iterable[list[Picture]]) -> Iterator[list[tuple[Picture, Pixels | DatasetError]]]:
    """The batches with their pixels; while one is used, those after it are decoded."""
    ahead: deque[list[tuple[Picture, Future[Pixels | DatasetError]]]] = deque()
    with ThreadPoolExecutor(_DECODERS) as pool:
        for batch in batches:
            ahead.append([(picture, pool.submit(_read, picture)) for picture in batch])
            if len(ahead) > _BATCHES_AHEAD:
                yield [(picture, pixels.result()) for picture, pixels in ahead.popleft()]
        for waiting in ahead:
            yield [(picture, pixels.result()) for picture, pixels in waiting]


def _read(picture: Picture) -> Pixels | DatasetError:
    try:
        return read_pixels(picture)
    except DatasetError as error:
        return error


def _by_size(pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    sizes = defaultdict(list)
    for picture in pictures:
        sizes[picture.placement.bucket].append(picture)
    for size, same in sorted(sizes.items()):
        count = min(_BATCH_PICTURES, max(1, _BATCH_PIXELS // size.pixels))
        yield from (same[start : start + count] for start in range(0, len(same), count))
