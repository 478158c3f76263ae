"""Runs and LoRA files as an engine leaves them, made without training: for tests of what pages show."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from lora_core import jobs
from lora_core.jobs import End, Job, State, Status, liveness, look, spawn
from lora_core.jobs.records import write_status
from lora_core.workspace import Workspace

PROMPTS = ("a red blip on a white background --w 64", "a yellow star on a black background --w 64")


def run(
    ws: Workspace,
    name: str,
    state: State,
    *,
    steps: int,
    total: int = 40,
    cause: str = "It ran to its end.",
    fix: str = "",
    notes: Sequence[str] = (),
    **status: Any,
) -> Job:
    """A training run that got to `steps` and is in `state`, with figures and samples."""
    job = jobs.create(
        ws,
        "train",
        name,
        {"output_name": name},
        engine="diffusers",
        start=False,
        files={"sample_prompts.txt": "\n".join(PROMPTS)},
    )
    with (job.folder / "progress.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            loss = 0.1 + 0.4 * math.exp(-step / 10)
            file.write(json.dumps({"step": step, "epoch": 1, "loss": loss, "lr": 1e-3, "time": 0.0}) + "\n")
            if step % 10 == 0:
                file.write(json.dumps({"step": step, "validation_loss": loss + 0.02}) + "\n")
    (job.folder / "samples").mkdir()
    for step in range(0, steps + 1, 20):
        for prompt in range(len(PROMPTS)):
            picture = Image.new("RGB", (64, 64), (200 - step, 40 * prompt, 90))
            picture.save(job.folder / "samples" / f"{name}_{step:06d}_{prompt:02d}_20260101{step:06d}_42.png")
    ended = state in jobs.ENDED
    end = End(cause=cause, fix=fix, at=time.time(), step=steps) if ended else None
    write_status(
        job.folder,
        Status(
            state=state,
            step=steps,
            total=total,
            loss=0.12,
            notes=tuple(notes),
            end=end,
            updated=time.time(),
            order=time.time(),
            **status,
        ),
    )
    return job


@contextmanager
def no_runner(ws: Workspace) -> Iterator[None]:
    """No runner comes to look after this workspace. Begin before it has a run: whoever sees one starts it."""
    path = spawn.runner_lock(ws)
    path.parent.mkdir(exist_ok=True)
    # A runner that the app started for an empty workspace stays for ten seconds.
    with liveness.Lock.acquire(path, timeout_s=60):
        yield


@contextmanager
def at_work(*made: Job) -> Iterator[None]:
    """These runs count as running: somebody holds their locks."""
    with ExitStack() as held:
        for job in made:
            held.enter_context(liveness.Lock.acquire(look.engine_lock(job.folder)))
        yield


def lora(ws: Workspace, name: str, *, rank: int = 4) -> Path:
    """A small sound LoRA file with a preview, in the folder of finished ones."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{layer}.lora_down.weight": np.full((rank, 8), 0.5, np.float16),
        f"{layer}.lora_up.weight": np.full((8, rank), 0.25, np.float16),
        f"{layer}.alpha": np.array(rank, np.float16),
    }
    notes = {
        "ss_output_name": name,
        "ss_sd_model_name": "demo-base",
        "ss_base_model_version": "sd_v1",
        "ss_steps": "400",
        "ss_epoch": "12",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "modelspec.trigger_phrase": "blip",
        "modelspec.title": name,
    }
    path = ws.loras / f"{name}.safetensors"
    save_file(tensors, path, metadata=notes)
    Image.new("RGB", (64, 64), (120, 60, 60)).save(path.with_suffix(".png"))
    return path


def machine(ws: Workspace) -> None:
    """What a look at torch leaves behind, so that no page starts one."""
    from importlib.metadata import version

    from lora_core.workspace import write_json

    facts = {"torch": "2.13.0", "device": "cpu", "device_name": "the processor", "bf16": False}
    write_json(
        ws.root / "machine.json",
        {"format": 1, "at": time.time(), "torch_version": version("torch"), "torch": facts},
    )
