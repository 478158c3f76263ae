"""The drawn learning rate is the one that the built-in engine trains with."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_core import planning
from lora_core.demo import demo_run
from lora_core.engines.diffusers.schedules import new_schedule
from lora_core.settings import with_values

STEPS = 50
COURSES: list[dict[str, Any]] = [
    {"lr_scheduler": "constant", "lr_warmup_steps": 0},
    {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 0.1},
    {"lr_scheduler": "cosine", "lr_warmup_steps": 5},
    {"lr_scheduler": "linear"},
    {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
    {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0},
    {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 4},
    {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1},
    {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 0.2, "lr_scheduler_min_lr_ratio": 0.05},
    {"lr_scheduler": "rex", "d": 0.9},
    {"lr_scheduler": "piecewise_constant", "step_rules": "1:10,0.1:20,0.01", "lr_warmup_steps": 0},
]


@pytest.mark.parametrize("values", COURSES, ids=lambda values: values["lr_scheduler"])
def test_the_drawn_rate_is_that_of_the_engine(values: dict[str, Any]) -> None:
    run = with_values(demo_run(Path()), {"learning_rate": 1e-3, "lr_warmup_steps": 0, **values})
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule, rates = new_schedule(run, optimizer, STEPS), []
    for _ in range(STEPS):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    drawn = planning.course(run, STEPS)
    assert drawn.steps == tuple(range(1, STEPS + 1))
    assert drawn.rates == pytest.approx(rates, abs=1e-12)


def test_a_rate_that_nobody_can_tell_beforehand_is_not_drawn() -> None:
    run = with_values(demo_run(Path()), {"optimizer_type": "Prodigy", "learning_rate": 1.0})
    assert planning.course(run, STEPS).steps == ()
    assert "while it trains" in planning.course(run, STEPS).why
