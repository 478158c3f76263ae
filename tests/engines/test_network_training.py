"""What a network does while it learns: dropouts that repeat, the norm limit, going on from a LoRA."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_rig import (
    LYCORIS,
    Parts,
    answers,
    assert_same,
    differ,
    file_of,
    keys,
    network,
    sd_scripts,
    tiny,
    trained,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lora_core.engines.diffusers.lora_layer import Dropout, LoraLayer, Size
from lora_core.engines.diffusers.merging import apply_lora
from lora_core.errors import LoraFileError

DROPOUTS = [{"network_dropout": 0.3}, {"rank_dropout": 0.5}, {"module_dropout": 0.5}]
MODULES = {
    "linear": lambda: nn.Linear(6, 5),
    "pointwise": lambda: nn.Conv2d(6, 5, 1),
    "convolution": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
}
INPUTS = {"linear": (3, 4, 6), "pointwise": (3, 6, 4, 4), "convolution": (3, 6, 4, 4)}


@pytest.mark.parametrize(
    "kind",
    [*DROPOUTS, {**LYCORIS, "algo": "loha", "rank_dropout": 0.5}, {**LYCORIS, "module_dropout": 0.5}],
    ids=str,
)
def test_dropouts_repeat_for_the_same_step_and_differ_for_another_and_rest_when_told(
    kind: dict[str, Any],
) -> None:
    base, without = tiny("sd1"), tiny("sd1")
    plain = {key: value for key, value in kind.items() if "dropout" not in key}
    made = trained(base, network_train_unet_only=False, **kind)
    trained(without, network_train_unet_only=False, **plain)

    def said(step: int, first: int, stream: int) -> list[Tensor]:
        torch.manual_seed(stream)  # whatever was drawn before must not matter
        made.seed_dropout(step, first)
        return answers(base)

    once = said(3, 4, stream=1)
    assert_same(said(3, 4, stream=2), once, rtol=0, atol=0)
    assert min(differ(said(4, 4, stream=1), once)) > 0
    assert min(differ(said(3, 6, stream=1), once)) > 0
    with made.resting():
        assert_same(said(3, 4, stream=1), answers(without), rtol=0, atol=0)
    assert_same(said(3, 4, stream=1), once, rtol=0, atol=0)


def test_without_dropouts_torchs_own_stream_is_left_alone() -> None:
    made = network(tiny("sd1"))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    made.seed_dropout(1, 0)
    assert torch.equal(before, torch.get_rng_state())


def layer(kind: str, dropout: Dropout) -> tuple[nn.Module, LoraLayer]:
    torch.manual_seed(2)
    module = MODULES[kind]()
    made = LoraLayer(module, Size(4, 2.0), dropout, np.random.default_rng(1))
    nn.init.normal_(made.up)
    made.attach()
    return module, made


@pytest.mark.parametrize("kind", MODULES)
def test_a_dropped_rank_is_dropped_for_a_whole_sample_and_the_others_are_raised(kind: str) -> None:
    module, made = layer(kind, Dropout(rank=0.5))
    x = torch.randn(INPUTS[kind])
    with torch.no_grad():
        torch.manual_seed(7)
        said = module(x)
        torch.manual_seed(7)
        kept = (torch.rand(3, 4) > 0.5).float() / 0.5
        made.train(False)
        for sample in range(3):
            down = made.down.clone()
            made.down.mul_(kept[sample].view(-1, *[1] * (down.dim() - 1)))
            torch.testing.assert_close(module(x[sample : sample + 1]), said[sample : sample + 1])
            made.down.copy_(down)


def test_a_dropped_layer_is_dropped_whole_and_gets_no_gradient() -> None:
    module, made = layer("linear", Dropout(module=0.5))
    x = torch.randn(INPUTS["linear"])
    plain = nn.functional.linear(x, module.weight, module.bias)
    dropped = 0
    for stream in range(40):
        torch.manual_seed(stream)
        made.up.grad = None
        said = module(x)
        said.sum().backward()
        dropped += torch.equal(said, plain)
        assert torch.equal(said, plain) == (made.up.grad is None)
    assert 8 < dropped < 32


@pytest.mark.sd_scripts
@pytest.mark.parametrize("dropout", [Dropout(), Dropout(0.3, 0.4, 0.2)], ids=["none", "all"])
@pytest.mark.parametrize("kind", MODULES)
def test_a_layer_answers_as_that_of_sd_scripts_with_the_same_draws(kind: str, dropout: Dropout) -> None:
    module, made = layer(kind, dropout)
    with sd_scripts() as theirs:
        torch.manual_seed(2)
        twin = MODULES[kind]()
        their = theirs.LoRAModule("x", twin, 1.0, 4, 2.0, dropout.neuron, dropout.rank, dropout.module)
        their.apply_to()
        their.load_state_dict(made.contents())
        for stream in range(6):
            x = torch.randn(INPUTS[kind])
            torch.manual_seed(stream)
            mine = module(x)
            torch.manual_seed(stream)
            torch.testing.assert_close(mine, twin(x))


def norms(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The norm of what each plain layer adds."""
    found = {}
    for key in keys(tensors):
        down, up = (tensors[f"{key}.lora_{way}.weight"].flatten(1) for way in ("down", "up"))
        found[key] = float((up @ down).norm() * tensors[f"{key}.alpha"] / len(down))
    return found


def test_the_norm_limit_shrinks_what_is_above_it_by_the_same_factor_on_both_sides() -> None:
    made = trained(tiny("sd1"), conv_dim=3)
    before = made.tensors()
    most = float(np.median(list(norms(before).values())))
    made.limit_norms(most)
    after = made.tensors()
    for key, norm in norms(before).items():
        assert norms(after)[key] == pytest.approx(min(norm, most), rel=1e-4)
        if norm < most * 0.999:
            assert torch.equal(after[f"{key}.lora_up.weight"], before[f"{key}.lora_up.weight"])
        ratio = max(1.0, norm / most) ** -0.5
        torch.testing.assert_close(
            after[f"{key}.lora_down.weight"], before[f"{key}.lora_down.weight"] * ratio
        )


@pytest.mark.sd_scripts
def test_the_norm_limit_is_that_of_sd_scripts() -> None:
    made = trained(tiny("sd1"), conv_dim=3)
    before = made.tensors()
    most = float(np.median(list(norms(before).values())))
    made.limit_norms(most)
    with sd_scripts() as theirs:
        holder = nn.Module()
        holder.state_dict = lambda: before  # type: ignore[method-assign,assign]  # all that the method asks for
        theirs.LoRANetwork.apply_max_norm_regularization(holder, most, torch.device("cpu"))
    for name, tensor in made.tensors().items():
        torch.testing.assert_close(tensor, before[name])


@pytest.mark.parametrize("kind", [{"algo": "loha"}, {"algo": "lokr"}, {"dora_wd": True}], ids=str)
def test_after_the_norm_limit_a_lycoris_network_is_what_its_file_says(kind: dict[str, Any]) -> None:
    base, again = tiny("sd1"), tiny("sd1")
    made = trained(base, **LYCORIS, **kind)
    before = answers(base)
    made.limit_norms(0.05)
    network(again, **LYCORIS, **kind).load(made.tensors())
    assert differ(answers(base), before)[0] > 0
    assert_same(answers(again), answers(base), rtol=0, atol=0)


def learned(base: Parts, kept: list[int]) -> float:
    """Forward and backward of the UNet; `kept` gets the size of each tensor that waits for the backward."""

    def noted(tensor: Tensor) -> Tensor:
        if not tensor.is_leaf:
            kept.append(tensor.numel())
        return tensor

    generator = torch.Generator().manual_seed(1)
    latents, words = (torch.randn(1, *shape, generator=generator) for shape in ((4, 2, 2), (7, 64)))
    torch.manual_seed(3)  # of the dropouts
    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        loss = base.unet(latents, torch.tensor([500]), words).sample.square().mean()
    loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr"])
def test_dora_keeps_no_copy_of_a_weight_and_learns_what_it_learned_with_them(
    monkeypatch: pytest.MonkeyPatch, algo: str
) -> None:
    kind = {**LYCORIS, "algo": algo, "dora_wd": True, "rank_dropout": 0.3 if algo == "lora" else 0.0}
    lean, plain = tiny("sd1"), tiny("sd1")
    made, reference = trained(lean, **kind), trained(plain, **kind)
    kept_lean: list[int] = []
    kept_plain: list[int] = []
    loss = learned(lean, kept_lean)
    monkeypatch.setattr(
        "lora_core.engines.diffusers.network_lycoris.checkpoint",
        lambda function, *inputs, **_options: function(*inputs),
    )
    assert learned(plain, kept_plain) == loss
    for mine, theirs in zip(made.parameters, reference.parameters, strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=0)
    weights = sum(placed.place.module.weight.numel() for placed in made.placed)
    assert sum(kept_plain) - sum(kept_lean) > 2 * weights
    largest = max(placed.place.module.weight.numel() for placed in made.placed)
    assert max(kept_lean) < largest < max(kept_plain) + 1


def test_going_on_from_a_lora_starts_with_its_weights_and_its_shape(tmp_path: Path) -> None:
    first, same, shaped = (tiny("sd1") for _ in range(3))
    path = file_of(trained(first, network_dim=3, network_alpha=1.5, conv_dim=2), tmp_path)
    going_on = network(same, network_weights=path, network_dim=3, network_alpha=1.5, conv_dim=2)
    shape = network(shaped, network_weights=path, dim_from_weights=True)
    stored = load_file(path)
    for made, base in ((going_on, same), (shape, shaped)):
        assert made.tensors().keys() == stored.keys()
        assert all(torch.equal(tensor, stored[name]) for name, tensor in made.tensors().items())
        assert_same(answers(base), answers(first), rtol=0, atol=0)


def test_a_part_that_the_file_lacks_starts_anew(tmp_path: Path) -> None:
    path = file_of(trained(tiny("sd1")), tmp_path)
    made = network(tiny("sd1"), network_weights=path, network_train_unet_only=False).tensors()
    fresh = network(tiny("sd1"), network_train_unet_only=False).tensors()
    stored = load_file(path)
    assert all(torch.equal(made[name], stored.get(name, fresh[name])) for name in made)


@pytest.mark.parametrize(
    "settings",
    [
        {"network_dim": 3},
        {"network_alpha": 0.5},
        {"conv_dim": 2},
        {"network_train_text_encoder_only": True, "network_train_unet_only": False},
        {"dim_from_weights": True, "network_train_unet_only": False},
        {**LYCORIS, "algo": "loha"},
    ],
    ids=str,
)
def test_a_lora_of_another_shape_is_refused_and_the_base_model_left_alone(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    base = tiny("sd1")
    path = file_of(trained(tiny("sd1")), tmp_path)
    with pytest.raises(LoraFileError, match="cannot be gone on with"):
        network(base, network_weights=path, **settings)
    assert_same(answers(base), answers(tiny("sd1")), rtol=0, atol=0)


def test_text_weights_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    path = file_of(trained(tiny("sd1"), network_train_unet_only=False), tmp_path)
    with pytest.raises(LoraFileError, match="lora_te"):
        network(tiny("sd1"), network_weights=path)


def test_a_lora_without_alphas_counts_as_scaled_by_its_rank(tmp_path: Path) -> None:
    base, bare = tiny("sd1"), tiny("sd1")
    made = trained(base, network_alpha=2.0, network_dim=2)
    tensors = {name: tensor for name, tensor in made.tensors().items() if not name.endswith(".alpha")}
    save_file(tensors, tmp_path / "bare.safetensors")
    network(bare, network_weights=tmp_path / "bare.safetensors", dim_from_weights=True)
    assert_same(answers(bare), answers(base), rtol=0, atol=0)


def test_loras_are_built_into_the_base_model_before_training_each_at_its_strength(tmp_path: Path) -> None:
    one = file_of(trained(tiny("sd1"), network_train_unet_only=False), tmp_path, "one.safetensors")
    two = file_of(trained(tiny("sd1"), algo="loha", **LYCORIS), tmp_path, "two.safetensors")
    by_hand, by_setting = tiny("sd1"), tiny("sd1")
    apply_lora(by_hand, one, 0.5)
    apply_lora(by_hand, two, 1.0)
    made = network(by_setting, base_weights=(one, two), base_weights_multiplier=(0.5,))
    assert_same(answers(by_setting), answers(by_hand), rtol=0, atol=0)
    assert not any(tensor.any() for name, tensor in made.tensors().items() if "lora_up" in name)
