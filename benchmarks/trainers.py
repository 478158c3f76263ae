"""The trainers that are timed against each other, each by its own public command, in a process of its own.

All get the same base folder, and ours and sd-scripts the same pictures and settings. Our trainer is
known here by its command, its settings and its progress.jsonl alone, so that nothing here changes
when the engine does.

Covered: the time of each step, from the start of the process to the end of the first step, and peak
memory. Not covered: whether the trainers learn the same.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import toml

from benchmarks.launch import PEAK
from benchmarks.model_folder import TOKENIZER, Family
from benchmarks.processes import CannotMeasureError, Finished, Line, watched
from benchmarks.sd_scripts import checkout, python_of

Dtype = Literal["fp32", "bf16"]

OURS: Final = "built-in engine"
BARE: Final = "bare diffusers loop"
SD_SCRIPTS: Final = "sd-scripts"
_BAR: Final = re.compile(r"(?<!validation )steps:\s+\d+%\|[^|]*\|\s*(\d+)/\d+")
_TOKENIZERS: Final = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
"""The folder names under which sd-scripts looks for tokenizers that it would otherwise download."""
_NO_HUB: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True)
class Case:
    """What is trained, the same for every trainer."""

    family: Family
    size: int
    """Pixels of a side; all pictures are square."""
    batch: int
    rank: int
    dtype: Dtype
    steps: int
    """All steps of one process, the first ones included."""
    checkpointing: bool = False
    compile: bool = False
    memory_limit_gb: float | None = None

    @property
    def name(self) -> str:
        parts = [self.family, f"{self.size}px", f"b{self.batch}", f"r{self.rank}", self.dtype]
        parts += ["checkpointing"] * self.checkpointing + ["compiled"] * self.compile
        return "_".join(parts)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one case are."""

    base: Path
    pictures: Path
    work: Path
    """A fresh folder for what a trainer reads and writes."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One process of one trainer."""

    first_step_s: float
    """From the start of the process to the end of its first step."""
    steps_s: list[float]
    """From the end of one step to the end of the next, so without the first."""
    memory_mb: float
    gpu_memory_mb: float | None
    """What torch held at most; None without a GPU."""


def ours(case: Case, place: Place) -> Timed:
    """Our trainer, as `python -m lora_core.engines.diffusers` runs it."""
    from lora_core.settings import catalogue

    known = {setting.key for setting in catalogue()}
    wanted = settings(case, place)
    if case.compile and "torch_compile" not in known:
        raise CannotMeasureError(f"The {OURS} has no setting torch_compile.")
    # What it always does, such as caching, it may not have as a setting.
    config, dataset = write_files(place, {key: wanted[key] for key in wanted if key in known})
    command = [sys.executable, *_launcher(case), "lora_core.engines.diffusers", config]
    command += ["--dataset", dataset, "--out", place.work / "out"]
    ended = watched(command, environment=_NO_HUB)
    return timed(ended, _progress_times(place.work / "out" / "progress.jsonl"))


def bare(case: Case, place: Place) -> Timed:
    """The loop of bare_loop.py."""
    command = [sys.executable, *_launcher(case), "benchmarks.bare_loop", place.base]
    for key in ("size", "batch", "rank", "dtype", "steps"):
        command += [f"--{key}", str(asdict(case)[key])]
    command += ["--checkpointing"] * case.checkpointing + ["--compile"] * case.compile
    ended = watched(command, environment=_NO_HUB)
    records = (json.loads(line.text) for line in ended.lines if line.text.startswith('{"step"'))
    return timed(ended, {record["step"]: record["time"] for record in records})


def sd_scripts(case: Case, place: Place) -> Timed:
    """sd-scripts with its own training script, unchanged; its bar tells when a step has ended."""
    script = checkout(os.environ) / f"{'sdxl_' if case.family == 'sdxl' else ''}train_network.py"
    python = python_of(os.environ)
    tokenizers = place.work / "tokenizers"
    tokenizers.mkdir()
    for name in _TOKENIZERS:
        (tokenizers / name).symlink_to(TOKENIZER)
    more: dict[str, Any] = {
        "sdpa": True,
        "tokenizer_cache_dir": str(tokenizers),
        "output_dir": str(place.work / "out"),
        "max_data_loader_n_workers": 0,  # all is cached; a worker would only take a core away
    }
    if case.family == "sdxl":
        more |= {"cache_text_encoder_outputs": True, "no_half_vae": True}
    config, dataset = write_files(place, settings(case, place) | more)
    command = [python, *_launcher(case), script, "--config_file", config, "--dataset_config", dataset]
    # Every redraw of the bar is wanted, and not one in a tenth of a second.
    ended = watched(command, environment={**_NO_HUB, "PYTHONUTF8": "1", "TQDM_MININTERVAL": "0"})
    return timed(ended, bar_times(ended.lines))


def _launcher(case: Case) -> list[str | Path]:
    limit = case.memory_limit_gb
    return ["-m", "benchmarks.launch", *([] if limit is None else ["--memory-limit-gb", str(limit)])]


def settings(case: Case, place: Place) -> dict[str, Any]:
    """The run, in sd-scripts' own keys, which are ours too; each trainer's best where they differ."""
    return {
        "pretrained_model_name_or_path": str(place.base),
        "network_module": "networks.lora",
        "network_train_unet_only": True,
        "network_dim": case.rank,
        "network_alpha": float(case.rank),
        "optimizer_type": "AdamW",
        "learning_rate": 1e-4,
        "lr_scheduler": "constant",
        "max_train_steps": case.steps,
        "mixed_precision": "bf16" if case.dtype == "bf16" else "no",
        "save_precision": "fp16",
        "cache_latents": True,
        "gradient_checkpointing": case.checkpointing,
        "torch_compile": case.compile,
        "seed": 1,
        "output_name": "timed",
    }


def write_files(place: Place, config: dict[str, Any]) -> tuple[Path, Path]:
    """`config.toml` and `dataset.toml` in the work folder."""
    size = int(place.pictures.name)
    subset = {"image_dir": str(place.pictures), "num_repeats": 1, "caption_extension": ".txt"}
    batch = int(place.pictures.parent.name)
    dataset = {"resolution": size, "batch_size": batch, "enable_bucket": False, "subsets": [subset]}
    paths = place.work / "config.toml", place.work / "dataset.toml"
    for path, content in zip(paths, (config, {"datasets": [dataset]}), strict=True):
        path.write_text(toml.dumps(content), "utf-8")
    return paths


def timed(ended: Finished, ends: dict[int, float]) -> Timed:
    """What a process took, from when each of its steps had ended.

    Raises:
        CannotMeasureError: it made fewer than two steps.
    """
    times = [ends[step] for step in sorted(ends)]
    if len(times) < 2:
        raise CannotMeasureError("The trainer ended well, but without two steps to be timed.")
    peaks = [line.text.removeprefix(PEAK) for line in ended.lines if line.text.startswith(PEAK)]
    return Timed(
        first_step_s=times[0] - ended.started,
        steps_s=[later - earlier for earlier, later in pairwise(times)],
        memory_mb=ended.peak_memory_mb,
        gpu_memory_mb=int(peaks[-1]) / 1e6 if peaks else None,
    )


def bar_times(lines: Sequence[Line]) -> dict[int, float]:
    """When sd-scripts' bar first showed each step as done, which it does as soon as the step has ended."""
    ends: dict[int, float] = {}
    for line in lines:
        for found in _BAR.finditer(line.text):
            if step := int(found[1]):
                ends.setdefault(step, line.time)
    return ends


def _progress_times(path: Path) -> dict[int, float]:
    """When each step was on record; the trainer writes it down right after the step."""
    return {record["step"]: record["time"] for record in _records(path) if record["kind"] == "step"}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, path.read_text("utf-8").splitlines())
