"""What the engine reported beside what was asked: the same, different, or not to be compared yet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_settings import a_run

from lora_core import jobs, runs
from lora_core.jobs import Job
from lora_core.settings import RunConfig, run_files, with_values
from lora_core.workspace import Workspace

STEPS = 20
ASKED: dict[str, Any] = {
    "network_dim": 4,
    "network_alpha": 2.0,
    "optimizer_type": "AdamW",
    "learning_rate": 2e-4,
    "unet_lr": None,
    "max_train_epochs": None,
    "max_train_steps": STEPS,
    "seed": 7,
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def job_of(ws: Workspace, run: RunConfig) -> Job:
    return jobs.create(
        ws, "train", "cat", {"output_name": "cat"}, engine="diffusers", start=False, files=run_files(run)
    )


def wrote(job: Job, *, rates: list[float], total: int = STEPS) -> None:
    records: list[dict[str, Any]] = [{"kind": "start", "total": total}]
    records += [{"kind": "step", "step": n, "loss": 0.1, "lr": rate} for n, rate in enumerate(rates, 1)]
    (job.folder / "progress.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records), "utf-8")


def saved(job: Job, *, rank: int = 4, alpha: float = 2.0, **notes: str) -> None:
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{layer}.lora_down.weight": np.full((rank, 8), 0.5, np.float16),
        f"{layer}.lora_up.weight": np.full((8, rank), 0.25, np.float16),
        f"{layer}.alpha": np.array(alpha, np.float16),
    }
    said = {"ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.01)", "ss_seed": "7", **notes}
    (job.folder / "checkpoints").mkdir(exist_ok=True)
    save_file(tensors, job.folder / "checkpoints" / "cat.safetensors", metadata=said)


def results(job: Job) -> dict[str, bool | None]:
    return {line.what: line.same for line in runs.echo(job)}


def test_before_the_engine_wrote_anything_there_is_nothing_to_compare(ws: Workspace) -> None:
    assert runs.echo(job_of(ws, with_values(a_run(), ASKED))) == []


def test_what_was_done_as_asked_is_the_same(ws: Workspace) -> None:
    job = job_of(ws, with_values(a_run(), ASKED))
    wrote(job, rates=[1e-4, 2e-4, 1e-4])
    saved(job)
    found = results(job)
    assert {
        "Steps",
        "Highest learning rate so far",
        "Optimizer",
        "Rank",
        "Alpha",
        "Layers of the image part",
    } <= {*found}
    assert {what for what, same in found.items() if same is not True} == set()


@pytest.mark.parametrize(
    ("what", "rates", "total", "notes"),
    [
        ("Steps", [2e-4], 999, {}),
        ("Highest learning rate so far", [5e-5, 5e-5], STEPS, {}),
        ("Optimizer", [2e-4], STEPS, {"ss_optimizer": "lion_pytorch.Lion"}),
        ("Rank", [2e-4], STEPS, {"rank": 8}),
        ("Alpha", [2e-4], STEPS, {"alpha": 1.0}),
        ("Seed", [2e-4], STEPS, {"ss_seed": "42"}),
    ],
)
def test_a_difference_is_told_and_comes_first(
    ws: Workspace, what: str, rates: list[float], total: int, notes: dict[str, Any]
) -> None:
    job = job_of(ws, with_values(a_run(), {**ASKED, "lr_warmup_steps": 0}))
    wrote(job, rates=rates, total=total)
    saved(job, **notes)
    lines = runs.echo(job)
    assert (lines[0].what, lines[0].same) == (what, False)
    assert [line for line in lines if line.same is False] == lines[:1]


def test_a_rate_that_still_rises_or_is_found_by_the_optimizer_cannot_be_compared_yet(ws: Workspace) -> None:
    rising = job_of(ws, with_values(a_run(), {**ASKED, "lr_warmup_steps": 10}))
    wrote(rising, rates=[1e-5, 2e-5])
    assert results(rising)["Highest learning rate so far"] is None
    prodigy = job_of(ws, with_values(a_run(), {**ASKED, "optimizer_type": "Prodigy", "learning_rate": 1.0}))
    wrote(prodigy, rates=[3e-6])
    assert results(prodigy)["Highest learning rate so far"] is None
