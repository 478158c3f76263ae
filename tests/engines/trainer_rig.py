"""What the trainers' tests share: a base model of random weights, small pictures, whole run folders.

Not covered: the fixtures that hand them out (see conftest.py) and jobs (see job_rig.py).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny_models import tokenizer

from lora_core.reporting import Progress, Request

Trained = Callable[..., Path]
"""Trains a run folder in this process; see the fixture `train`."""


def write_base_model(folder: Path) -> None:
    """A real Stable Diffusion 1.x folder in everything but size, with random weights.

    The VAE halves a picture twice, not three times, so that 32 px pictures still have room for the
    two levels of the UNet.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=64,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=32,
    )
    tokenizer(folder / "tokenizer")
    size = len(json.loads((folder / "tokenizer" / "vocab.json").read_text()))
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=size - 2,
            eos_token_id=size - 1,
        )
    )
    vae.save_pretrained(folder / "vae")
    unet.save_pretrained(folder / "unet")
    text_encoder.save_pretrained(folder / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")


@dataclass
class Ears:
    """A reporter that remembers everything, and asks for what a test wants at a step."""

    asks: dict[int, Request] = field(default_factory=dict)
    takes: dict[int, str] = field(default_factory=dict)
    phases: list[str] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[tuple[Path, int]] = field(default_factory=list)

    @property
    def _done(self) -> int:
        return self.steps[-1].step if self.steps and self.phases[-1] != "Preparing the pictures" else -1

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def request(self) -> Request | None:
        return self.asks.get(self._done)

    def take(self, name: str) -> bool:
        if self.takes.get(self._done) != name:
            return False
        del self.takes[self._done]
        return True

    def saved(self, path: Path, step: int) -> None:
        self.files.append((path, step))

    def note(self, text: str) -> None:
        self.notes.append(text)


def draw_pictures(
    folder: Path, sizes: list[tuple[int, int]], caption: str | None = "a photo of sks cat, red"
) -> None:
    """Small pictures with smooth colours, `(width, height)` each, with the same caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        values = np.stack([across, down, np.full_like(across, number / max(1, len(sizes)))], axis=-1)
        Image.fromarray((values * 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        if caption is not None:
            (folder / f"{number:02d}.txt").write_text(f"{caption}, {number}\n", "utf-8")


@dataclass(frozen=True)
class Rig:
    """Makes run folders on the tiny base model."""

    root: Path
    base: Path

    def pictures(self, count: int = 5) -> Path:
        folder = self.root / "pictures"
        if not folder.exists():
            draw_pictures(folder, [(48, 48), (64, 40), (40, 64), (48, 48), (52, 50), (48, 47)][:count])
        return folder

    def folder(
        self,
        name: str = "run",
        *,
        dataset: dict[str, Any] | None = None,
        subset: dict[str, Any] | None = None,
        **config: Any,
    ) -> Path:
        """A run folder with both files; `config`, `dataset` and `subset` go over the defaults."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "pretrained_model_name_or_path": str(self.base),
            "output_name": "tiny",
            "network_dim": 4,
            "network_alpha": 2.0,
            "learning_rate": 0.01,
            "lr_scheduler": "constant",
            "max_train_steps": 4,
            "sample_at_first": False,
            "seed": 7,
            **config,
        }
        table = {
            "resolution": 48,
            "batch_size": 2,
            "min_bucket_reso": 32,
            "max_bucket_reso": 64,
            "bucket_reso_steps": 16,
            **(dataset or {}),
        }
        pictures = {"image_dir": str(self.pictures()), "num_repeats": 2, **(subset or {})}
        (folder / "config.toml").write_text(_toml(settings), "utf-8")
        text = f"[[datasets]]\n{_toml(table)}[[datasets.subsets]]\n{_toml(pictures)}"
        (folder / "dataset.toml").write_text(text, "utf-8")
        return folder


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value is not None)


def records(folder: Path, kind: str = "step") -> list[dict[str, Any]]:
    """The records of one kind in a run's progress.jsonl."""
    lines = (folder / "progress.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def losses(folder: Path) -> list[float]:
    """The loss of every step of a run."""
    return [record["loss"] for record in records(folder)]
