"""Precisions: what a machine cannot do is refused, and weights in 8 bits still give the model's answer."""

from pathlib import Path

import pytest
import torch
from trainer_rig import Ears, Rig, Trained, losses

from lora_core.engines.diffusers.device import shrink_to_8_bits
from lora_core.errors import SettingsError

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused elsewhere")


@NO_GPU
@pytest.mark.parametrize(
    ("config", "setting"),
    [
        ({"mixed_precision": "fp16"}, "mixed_precision"),
        ({"mixed_precision": "bf16", "fp8_base": True}, "fp8_base"),
    ],
)
def test_what_needs_a_gpu_is_refused_before_anything_is_loaded(
    rig: Rig, train: Trained, config: dict[str, object], setting: str
) -> None:
    ears = Ears()
    with pytest.raises(SettingsError) as caught:
        train(rig.folder(**config), ears)
    assert [problem.setting for problem in caught.value.problems] == [setting]
    assert ears.phases == []


def test_a_wrong_argument_of_the_optimizer_is_refused_before_anything_is_loaded(
    rig: Rig, train: Trained
) -> None:
    ears = Ears()
    with pytest.raises(SettingsError, match="no_such_thing"):
        train(rig.folder(optimizer_args=["no_such_thing=1"]), ears)
    assert ears.phases == []


def test_a_machine_without_bf16_is_told_that_it_is_not_faster(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    for has in (True, False):
        monkeypatch.setattr("lora_core.engines.diffusers.device._has_bf16", lambda has=has: has)
        ears = Ears()
        train(rig.folder(str(has), mixed_precision="bf16", max_train_steps=3), ears)
        assert any("bf16" in note for note in ears.notes) is not has
    with_it, without = (losses(rig.root / str(has)) for has in (True, False))
    assert without == pytest.approx(with_it, rel=0.01), "both ways round to bf16"


def test_weights_in_8_bits_answer_like_those_in_16_and_let_gradients_through(base_model: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(base_model, subfolder="unet", dtype=torch.bfloat16)
    unet.requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, 12, 12, generator=rng)
    told = torch.randn(1, 7, 32, generator=rng)
    inputs = (noisy, torch.tensor([500]), told)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = unet(*inputs).sample.float()
    weights = sum(weight.numel() for weight in unet.parameters())
    shrink_to_8_bits(unet)
    small = [weight for weight in unet.parameters() if weight.dtype == torch.float8_e4m3fn]
    assert sum(weight.numel() for weight in small) > 0.8 * weights
    with torch.autocast("cpu", torch.bfloat16):
        told.requires_grad_()
        answer = unet(*inputs).sample.float()
    answer.square().mean().backward()
    after = answer.detach()
    assert told.grad is not None
    assert bool(told.grad.isfinite().all())
    assert float((after - before).norm() / before.norm()) < 0.2


@pytest.mark.gpu
@pytest.mark.parametrize(
    "config",
    [
        {"mixed_precision": "fp16"},
        {"mixed_precision": "bf16", "fp8_base": True, "gradient_checkpointing": True},
        {"mixed_precision": "fp16", "fp8_base": True},
    ],
    ids=["fp16", "fp8 in bf16", "fp8 in fp16"],
)
def test_small_precisions_train_on_a_gpu(rig: Rig, train: Trained, config: dict[str, object]) -> None:
    folder = rig.folder(max_train_steps=6, **config)
    train(folder)
    assert len(losses(folder)) == 6
