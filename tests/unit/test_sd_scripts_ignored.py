"""What is said to be owned or ignored, held against the code of sd-scripts itself."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sd_scripts_code import piece
from test_settings import a_run

from lora_core.settings import SD_SCRIPTS, catalogue, no_effect, setting, value_in, with_values
from lora_core.settings import _owners as owners
from lora_core.settings.ignored import schedule_free

pytestmark = pytest.mark.sd_scripts

BUILT_IN_NETWORKS = [each for each in owners.NETWORKS if each != owners.LYCORIS]


def source(path: str) -> str:
    return (Path(os.environ["LORA_SD_SCRIPTS"]) / path).read_text("utf-8")


def keys_of(module: str) -> set[str]:
    """The `network_args` that a network of sd-scripts reads."""
    body = source(module.replace(".", "/") + ".py")
    return set(re.findall(r'^(?!\s*#).*kwargs\.get\("(\w+)"', body, re.MULTILINE))


@pytest.mark.parametrize("module", BUILT_IN_NETWORKS)
def test_a_network_reads_what_it_is_said_to_own_and_nothing_else_of_ours(module: str) -> None:
    ours = [s for s in catalogue() if s.place == "network_args"]
    owned = {s.key for s in ours if owners.takes(s, "network_module", module)}
    assert owned == {s.key for s in ours} & keys_of(module)


def test_only_networks_that_can_be_held_below_a_size_own_that_limit() -> None:
    with_norms = [
        module
        for module in BUILT_IN_NETWORKS
        if "def apply_max_norm_regularization" in source(module.replace(".", "/") + ".py")
    ]
    limit = setting("scale_weight_norms")
    assert [m for m in BUILT_IN_NETWORKS if owners.takes(limit, "network_module", m)] == with_norms


@pytest.mark.parametrize(
    "name",
    ["AdamW", "RAdamScheduleFree", "prodigyplus.ProdigyPlusScheduleFree", "Prodigy", "adamwschedulefree"],
)
def test_schedule_free_optimizers_are_told_as_sd_scripts_tells_them(name: str) -> None:
    told = piece("is_schedulefree_optimizer")(None, SimpleNamespace(optimizer_type=name))
    assert schedule_free(name) == told
    assert "is_schedulefree_optimizer(optimizer, args)" in source("library/train_util.py")


@pytest.mark.parametrize("course", ["snr", "constant", "exponential"])
@pytest.mark.parametrize("kind", ["l2", "l1", "huber", "smooth_l1"])
def test_the_scale_of_huber_acts_where_nothing_is_said_against_it(kind: str, course: str) -> None:
    scheduler = SimpleNamespace(
        alphas_cumprod=torch.linspace(0.99, 0.01, 1000), config=SimpleNamespace(num_train_timesteps=1000)
    )
    threshold = piece("get_huber_threshold_if_needed", torch=torch)

    def limits(scale: float) -> Any:
        args = SimpleNamespace(loss_type=kind, huber_schedule=course, huber_c=0.1, huber_scale=scale)
        return threshold(args, torch.tensor([100, 500]), scheduler)

    one, two = limits(1.0), limits(2.0)
    acts = one is not None and not torch.equal(one, two)
    values = {"loss_type": kind, "huber_schedule": course}
    found = no_effect(value_in(with_values(a_run(), values)), SD_SCRIPTS, "sd15")
    assert ("huber_scale" not in found) == acts


def test_of_three_ways_of_attention_the_one_that_is_named_wins() -> None:
    body = source("library/train_util.py").split("def replace_unet_modules(unet: UNet2DConditionModel")[1]
    branches = re.findall(r"(el)?if (mem_eff_attn|xformers|sdpa):", body)[:3]
    assert branches == [("", "mem_eff_attn"), ("el", "xformers"), ("el", "sdpa")]
