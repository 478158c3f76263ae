"""Sample pictures drawn while a run goes on.

Covered: prompts as lines with the flags of sd-scripts (`--w --h --d --s --l --n --ss`), or as a
.toml or .json list; drawing through diffusers' own pipeline with the parts that are being trained;
a seed of its own for each prompt, so that samples can be compared across steps. Drawing uses no
random numbers of the training.

Not covered: long prompts and weights in brackets, ControlNet, hires passes.
"""

import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler

from lora_core.engines.diffusers.model import BaseModel
from lora_core.errors import DiskFullError, Problem, SettingsError
from lora_core.reporting import Reporter
from lora_core.settings import RunConfig, prompt_lines
from lora_core.workspace import replacing

_FLAG: Final = re.compile(r"^(ss|[nwhdsl])\s+(.+)$", re.IGNORECASE | re.DOTALL)
_SAMPLERS: Final = {"ddim": DDIMScheduler, "euler_a": EulerAncestralDiscreteScheduler}
_DRAWING_ERRORS: Final = (RuntimeError, ValueError, TypeError, OSError, DiskFullError)
"""What a picture that cannot be drawn raises: out of memory, a size the model cannot have, a full disk."""
_MOST_STEPS: Final = 1000
_GRID: Final = 8
_SMALLEST: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One sample picture."""

    text: str
    negative: str = ""
    width: int
    """In pixels; rounded down to a multiple of 8, at least 64, as sd-scripts does."""
    height: int
    steps: int = 30
    guidance: float = 7.5
    seed: int
    sampler: str


_NAMES: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("steps", lambda text: max(1, min(_MOST_STEPS, int(text)))),
    "l": ("guidance", float),
    "ss": ("sampler", str),
}
_RECORD_FLAGS: Final = {
    "negative_prompt": "n",
    "width": "w",
    "height": "h",
    "seed": "d",
    "sample_steps": "s",
    "scale": "l",
    "sample_sampler": "ss",
}


def read_prompts(run: RunConfig) -> tuple[Prompt, ...]:
    """The prompts of a run. Without `--w` and `--h` a sample has the size of the training pictures.

    Raises:
        SettingsError: the file of prompts cannot be read.
    """
    source = run.sampling.sample_prompts
    width, height = run.dataset.datasets[0].resolution
    plain = Prompt(
        text="", width=width, height=height, seed=run.batch.seed, sampler=run.sampling.sample_sampler
    )
    if isinstance(source, Path) and source.suffix.lower() in {".toml", ".json"}:
        return tuple(_from_record(plain, record) for record in _file_records(source))
    return tuple(_from_line(plain, line) for line in prompt_lines(run))


def _from_line(plain: Prompt, line: str) -> Prompt:
    text, *flags = line.split(" --")
    found = [match.groups() for flag in flags if (match := _FLAG.match(flag.strip()))]
    return _with_flags(replace(plain, text=text.strip()), {name.lower(): value for name, value in found})


def _from_record(plain: Prompt, record: Mapping[str, Any]) -> Prompt:
    flags = {flag: record[name] for name, flag in _RECORD_FLAGS.items() if name in record}
    return _with_flags(replace(plain, text=str(record.get("prompt", ""))), flags)


def _with_flags(prompt: Prompt, flags: Mapping[str, Any]) -> Prompt:
    values: dict[str, Any] = {}
    for flag, value in flags.items():
        name, convert = _NAMES[flag]
        try:
            values[name] = convert(value.strip() if isinstance(value, str) else value)
        except ValueError as error:
            what = f"The prompt {prompt.text!r} has {value!r} after --{flag}, which is no number."
            raise SettingsError(
                [Problem(setting="sample_prompts", what=what, fix="Write a number.")]
            ) from error
    return replace(prompt, **values)


def _file_records(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a .json list, or of a .toml file's `[prompt]` with its `[[prompt.subset]]`."""
    try:
        text = path.read_text("utf-8")
        if path.suffix.lower() == ".json":
            return [dict(record) for record in json.loads(text)]
        table = tomllib.loads(text)["prompt"]
        shared = {key: value for key, value in table.items() if key != "subset"}
        return [{**shared, **record} for record in table["subset"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        what = f"The prompts in {path.name} were not read: {error}."
        fix = "Write one prompt a line in a .txt file."
        raise SettingsError([Problem(setting="sample_prompts", what=what, fix=fix)]) from error


class Samples:
    """Draws the prompts of a run with the networks that are being trained."""

    def __init__(self, base: BaseModel, prompts: tuple[Prompt, ...], folder: Path, output_name: str) -> None:
        self._base, self._prompts, self._folder, self._name = base, prompts, folder, output_name
        self._pipeline: Any = None

    def __bool__(self) -> bool:
        return bool(self._prompts)

    def draw(self, step: int, reporter: Reporter, precision: AbstractContextManager[Any]) -> list[Path]:
        """Draw every prompt; one that cannot be drawn is noted, and the run goes on."""
        paths = []
        vae, device = self._base.vae, self._base.unet.device
        resting_place = vae.device
        vae.to(device)
        with precision, torch.no_grad():
            for number, prompt in enumerate(self._prompts):
                try:
                    paths.append(self._draw_one(prompt, number, step))
                except _DRAWING_ERRORS as error:
                    reason = " ".join(str(error).split())[:200]
                    reporter.note(f"Sample {number + 1} at step {step} was not drawn: {reason}.")
        vae.to(resting_place)
        return paths

    def _draw_one(self, prompt: Prompt, number: int, step: int) -> Path:
        pipeline = self._ready()
        if prompt.sampler not in _SAMPLERS:
            raise ValueError(f"the sampler {prompt.sampler} is not one of {', '.join(_SAMPLERS)}")
        pipeline.scheduler = _SAMPLERS[prompt.sampler].from_config(self._base.scheduler.config)
        image = pipeline(
            prompt.text,
            negative_prompt=prompt.negative,
            width=max(_SMALLEST, prompt.width // _GRID * _GRID),
            height=max(_SMALLEST, prompt.height // _GRID * _GRID),
            num_inference_steps=prompt.steps,
            guidance_scale=prompt.guidance,
            # On the CPU, so that a sample is the same picture whatever card trains.
            generator=torch.Generator().manual_seed(prompt.seed),
        ).images[0]
        stamp = time.strftime("%Y%m%d%H%M%S")
        path = self._folder / f"{self._name}_{step:06d}_{number:02d}_{stamp}_{prompt.seed}.png"
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            image.save(part, format="PNG")
        return path

    def _ready(self) -> Any:
        if self._pipeline is None:
            # Here and not above: a run without samples starts a second sooner.
            from diffusers import StableDiffusionPipeline

            pipeline: Any = StableDiffusionPipeline
            self._pipeline = pipeline(
                vae=self._base.vae,
                unet=self._base.unet,
                text_encoder=self._base.text_encoder,
                tokenizer=self._base.tokenizer,
                scheduler=self._base.scheduler,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            self._pipeline.set_progress_bar_config(disable=True)
        return self._pipeline
