"""What a caption means to the base model: hidden states of its text encoders, and SDXL's sizes.

Covered: clip skip and the last norm of SD 1.x, the layers and the pooled vector of SDXL, long
captions, weights in brackets; remembering what was read, in memory and on disk, by content; reading
with gradients where the text encoders are trained. All of it as sd-scripts does it.

Not covered: how a caption becomes tokens (see `caption_tokens.py`), which caption a picture has at a
step (see `pictures.py`).
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lora_core.engines.diffusers.cache_age import forget_unused, mark_used
from lora_core.engines.diffusers.caption_tokens import Tokens, tokens
from lora_core.engines.diffusers.model import BaseModel
from lora_core.errors import DatasetError
from lora_core.settings import RunConfig
from lora_core.workspace import replacing

_REMEMBERED_MIB: Final = 256
_CHECK: Final = "sha256"
_ROW: Final = 75
"""Words of a caption that fit between a start and an end token."""


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the UNet is told about a batch of captions."""

    hidden: Tensor
    """(batch, tokens, width): 77 tokens, or 152 or 227 for long captions."""
    pooled: Tensor | None
    """(batch, width), the whole caption as one vector; SDXL only."""

    def to(self, device: torch.device) -> "Conditioning":
        """The same on another device."""
        pooled = None if self.pooled is None else self.pooled.to(device, non_blocking=True)
        return Conditioning(self.hidden.to(device, non_blocking=True), pooled)


class Texts:
    """Captions as conditioning. Each is read once while it is remembered."""

    def __init__(self, base: BaseModel, run: RunConfig, device: torch.device) -> None:
        self._base, self._settings, self._device = base, run.text, device
        self._rows = (run.text.max_token_length or _ROW) // _ROW
        self._all = run.text.cache_text_encoder_outputs
        self._disk = self._disk_cache(run) if run.text.cache_text_encoder_outputs_to_disk else None
        self._known: OrderedDict[str, Conditioning] = OrderedDict()
        width = sum(encoder.config.hidden_size for encoder in base.text_encoders)
        self._most = max(64, _REMEMBERED_MIB * 2**20 // (self._rows * 77 * width * 4))
        self._changing = not run.network.network_train_unet_only

    def __call__(self, captions: list[str]) -> Conditioning:
        """The captions as the frozen text encoders read them, on the training device; no gradients."""
        # One caption at a time: in a batch the last bits would depend on its neighbours, and so on
        # which captions happen to be remembered, and a resumed run would differ.
        read = [self._remembered(caption).to(self._device) for caption in captions]
        pooled = [each.pooled for each in read if each.pooled is not None]
        return Conditioning(torch.cat([each.hidden for each in read]), torch.cat(pooled) if pooled else None)

    def trained(self, captions: list[str]) -> Conditioning:
        """The captions as the text encoders read them now, with gradients; nothing is remembered."""
        parts = [
            self._part(
                number, [tokens(tokenizer, each, self._rows, weighted=self._weighted) for each in captions]
            )
            for number, tokenizer in enumerate(self._base.tokenizers)
        ]
        pooled = parts[-1].pooled
        return Conditioning(torch.cat([part.hidden for part in parts], dim=2), pooled).to(self._device)

    def now(self, captions: list[str]) -> Conditioning:
        """The captions as the text encoders read them at this step; no gradients."""
        if not self._changing:
            return self(captions)
        with torch.no_grad():
            return self.trained(captions)

    def prepare(self, captions: Iterable[str], told: Callable[[int], None] = lambda _done: None) -> None:
        """Where the settings say so, read every caption now and put the text encoders off the GPU.

        `told` hears how many captions are read.
        """
        if not self._all:
            return
        for number, caption in enumerate(dict.fromkeys(captions)):
            self._remembered(caption)
            told(number + 1)
        for encoder in self._base.text_encoders:
            encoder.to("cpu")

    def _remembered(self, caption: str) -> Conditioning:
        if (known := self._known.get(caption)) is not None:
            self._known.move_to_end(caption)
            return known
        read = self._disk.get(caption) if self._disk else None
        if read is None:
            with torch.no_grad():
                read = self.trained([caption])
            if self._disk:
                self._disk.put(caption, read)
        if self._all:
            read = read.to(torch.device("cpu"))  # all captions together could fill a GPU
        self._known[caption] = read
        if not self._all and len(self._known) > self._most:
            self._known.popitem(last=False)
        return read

    @property
    def _weighted(self) -> bool:
        return self._settings.weighted_captions

    def _part(self, number: int, captions: list[Tokens]) -> Conditioning:
        """What one text encoder says."""
        encoder = self._base.text_encoders[number]
        ids = torch.stack([each.ids for each in captions]).to(encoder.device)
        said = encoder(ids.flatten(0, 1), output_hidden_states=True)
        hidden = _joined(self._layer(encoder, said).unflatten(0, ids.shape[:2]))
        if self._weighted:
            weights = torch.stack([each.weights for each in captions])
            hidden = hidden * _joined(weights.unsqueeze(-1)).to(hidden)
        if self._base.family == "sd1" or number == 0:
            return Conditioning(hidden, None)
        end = self._base.tokenizers[number].eos_token_id
        return Conditioning(hidden, _pooled(encoder, said.last_hidden_state, ids, end))

    def _layer(self, encoder: Any, said: Any) -> Tensor:
        """(rows, row length, width). SDXL was made with the layer before the last, without its norm."""
        layer: Tensor
        if self._base.family == "sdxl":
            layer = said.hidden_states[-2]
        elif self._settings.clip_skip is None:
            layer = said.last_hidden_state
        else:
            layer = encoder.final_layer_norm(said.hidden_states[-self._settings.clip_skip])
        return layer

    def _disk_cache(self, run: RunConfig) -> "_DiskCache":
        folder = run.dataset.datasets[0].subsets[0].image_dir / ".lora" / "texts"
        settings = (self._base.family, self._rows, run.text.clip_skip, run.text.weighted_captions)
        tokenizers = [tokenizer.get_vocab() for tokenizer in self._base.tokenizers]
        return _DiskCache(folder, _digest(self._base.text_encoders, [settings, tokenizers]))


def _joined(rows: Tensor) -> Tensor:
    """(batch, rows, row length, width) as one row: a start token, all words, an end token."""
    return torch.cat([rows[:, 0, :1], rows[:, :, 1:-1].flatten(1, 2), rows[:, -1, -1:]], dim=1)


def _pooled(encoder: Any, last: Tensor, ids: Tensor, end: int) -> Tensor:
    """(batch, width): what stands at the first end token of each caption's first row, projected."""
    first = last.unflatten(0, ids.shape[:2])[:, 0]
    places = (ids[:, 0] == end).int().argmax(dim=1)
    projected: Tensor = encoder.text_projection(first[torch.arange(len(first), device=first.device), places])
    return projected


def size_conditions(size_ids: Tensor, conditioning: Conditioning) -> dict[str, Tensor] | None:
    """The UNet's `added_cond_kwargs`: pooled captions and sizes for SDXL, None for SD 1.x.

    `size_ids` is (batch, 6): original height and width, top and left of the cut, target height and
    width, in pixels. They stay float32: in bf16 only every fourth number near 1024 exists.
    """
    if conditioning.pooled is None:
        return None
    return {
        "text_embeds": conditioning.pooled,
        "time_ids": size_ids.to(conditioning.hidden.device, torch.float32),
    }


class _DiskCache:
    """What was read, one small file for each caption, known by what it was read from."""

    def __init__(self, folder: Path, digest: bytes) -> None:
        self._folder, self._digest = folder, digest
        forget_unused(folder)

    def get(self, caption: str) -> Conditioning | None:
        try:
            found = load_file(self._path(caption))
            if bytes(found.pop(_CHECK).tolist()) == _fingerprint(found):
                mark_used(self._path(caption))
                return Conditioning(found["hidden"], found.get("pooled"))
        except (OSError, SafetensorError, KeyError):  # not there, or cut off
            pass
        return None  # it is read anew, as one is that is damaged

    def put(self, caption: str, read: Conditioning) -> None:
        named = {"hidden": read.hidden, "pooled": read.pooled}
        kept = {name: value.contiguous() for name, value in named.items() if value is not None}
        check = torch.frombuffer(bytearray(_fingerprint(kept)), dtype=torch.uint8)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._path(caption)) as part:
                part.write_bytes(save({**kept, _CHECK: check}))
        except OSError as error:
            raise DatasetError(
                "What the captions mean was not saved.",
                why=f"The system answered for {self._folder}: {error.strerror}.",
                fix="Allow writing there, or turn off cache_text_encoder_outputs_to_disk.",
            ) from error

    def _path(self, caption: str) -> Path:
        name = hashlib.sha256(self._digest + caption.encode("utf-8")).hexdigest()
        return self._folder / f"{name}.safetensors"


def _fingerprint(tensors: dict[str, Tensor]) -> bytes:
    """Stands for every bit of them."""
    known = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        known.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        known.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return known.digest()


def _digest(encoders: tuple[Any, ...], settings: list[Any]) -> bytes:
    """Stands for the encoders' weights, to the last bit, and for the settings."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode("utf-8"), digest_size=32)
    for encoder in encoders:
        digest.update(json.dumps(encoder.config.to_dict(), sort_keys=True, default=str).encode("utf-8"))
        for name, value in sorted(encoder.state_dict().items()):
            digest.update(name.encode("utf-8"))
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.digest()
