"""Encoded pictures on the disk, known by what they were made from and by nothing else.

An entry's name is a hash of the picture's bytes, its cut, its mask, whether it is mirrored, and the weights
and number type of the VAE. So an edited picture or another VAE never meets an old entry, whatever the times
of the files say. Entries lie in `.lora/latents/` of the folder of pictures and may be deleted at any time.

Covered: finding, checking and writing entries; a write is whole or not there. Not covered: encoding (see
`latents.py`), removing old entries (see `cache_age.py`).
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lora_core.engines.diffusers.cache_age import mark_used
from lora_core.engines.diffusers.pictures import Picture
from lora_core.errors import DatasetError
from lora_core.workspace import disk_errors

_FORMAT: Final = 2
"""Raise it when the way in which pictures are encoded changes; older entries are then not found."""
_CHECK: Final = "sha256"


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the VAE made of one picture, in float32; on the CPU if it is kept."""

    latents: Tensor
    """(channels, height, width), scaled as the UNet wants them."""
    mask: Tensor | None
    """(1, height, width), 0 where nothing is learned to 1; None when there is no mask."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"latents": self.latents} | ({} if self.mask is None else {"mask": self.mask})

    @property
    def fingerprint(self) -> bytes:
        """Stands for every bit of it."""
        known = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            known.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
            known.update(tensor.numpy().tobytes())
        return known.digest()


class LatentCache:
    """The entries that one VAE made."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae_digest(vae)
        self.damaged: list[Path] = []
        """Entries that were found damaged and have not been told of yet."""

    def path(self, picture: Picture, digest: str, *, flipped: bool) -> Path:
        """Where the entry of a picture with this digest lies."""
        made_from = f"{_FORMAT} {digest} {flipped} {self._vae}"
        name = hashlib.sha256(made_from.encode()).hexdigest()
        return self.folder(picture) / f"{name}.safetensors"

    @staticmethod
    def folder(picture: Picture) -> Path:
        """Where the entries of a picture lie, beside those of the other pictures of its folder."""
        return picture.path.parent / ".lora" / "latents"

    def read(self, path: Path) -> Encoded | None:
        """The entry at `path`; None when there is none, or when it is damaged (see `damaged`)."""
        try:
            tensors = load(path.read_bytes())
            found = Encoded(tensors["latents"], tensors.get("mask"))
            if tensors[_CHECK].numpy().tobytes() == found.fingerprint:
                mark_used(path)
                return found
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError):
            pass  # told below, like an entry whose hash does not fit
        self.damaged.append(path)  # threads may be at work here; whoever asked them tells
        return None

    def write(self, path: Path, encoded: Encoded) -> None:
        """Write an entry.

        Raises:
            DiskFullError: the disk is full; nothing of the entry is left.
            DatasetError: the folder cannot be written to.
        """
        tensors = {name: tensor.contiguous() for name, tensor in encoded.tensors.items()}
        check = torch.frombuffer(bytearray(encoded.fingerprint), dtype=torch.uint8)
        part = path.with_name(f".{path.name}.{uuid4().hex}.part")
        try:
            with disk_errors("The prepared pictures were not saved."):
                path.parent.mkdir(parents=True, exist_ok=True)
                # Not flushed to the disk one by one: what a power cut damages, its hash tells.
                part.write_bytes(save({**tensors, _CHECK: check}))
                part.replace(path)
        except OSError as error:
            raise DatasetError(
                "The prepared pictures were not saved.",
                why=f"The system answered for {path.parent}: {error.strerror}.",
                fix="Allow writing there, or turn off cache_latents_to_disk.",
            ) from error
        finally:
            with suppress(OSError):  # nothing is left to remove when the rename worked
                part.unlink()


def vae_digest(vae: Any) -> str:
    """Stands for the weights of a VAE, their number type, and what it does with its result."""
    known = hashlib.sha256(repr((vae.dtype, vae.config.scaling_factor)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        known.update(repr((name, tuple(tensor.shape))).encode())
        known.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return known.hexdigest()
