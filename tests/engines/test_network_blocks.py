"""Ranks and rates of single blocks: the lists of sd-scripts, what they do, and what is wrong with them."""

import math
from typing import Any

import pytest
from network_rig import BOTH, Parts, keys, network, sd_scripts, whole

from lora_core.engines.diffusers.network_blocks import block_problems, blocks_of
from lora_core.engines.diffusers.network_places import block_number
from lora_core.errors import SettingsError
from lora_core.settings import NetworkSettings, OptimizerSettings

COUNT = {"sd1": 25, "sdxl": 23}
SIDE = {"sd1": 12, "sdxl": 9}
MIDDLE = {"sd1": 1, "sdxl": 3}


def numbers(count: int, start: int = 0) -> str:
    return ",".join(str(start + number) for number in range(count))


@BOTH
def test_each_block_gets_its_own_rank_and_alpha_and_a_zero_leaves_it_out(family: str) -> None:
    count = COUNT[family]
    made = network(
        whole(family),
        block_dims=numbers(count),
        block_alphas=numbers(count, 1),
        conv_block_dims=numbers(count, 2),
        conv_block_alphas=numbers(count, 3),
    )
    tensors = made.tensors()
    seen = set()
    for key in keys(tensors):
        number = block_number(key, family)
        assert number is not None
        down = tensors[f"{key}.lora_down.weight"]
        large = down.dim() == 4 and down.shape[2:] != (1, 1)
        assert len(down) == number + (2 if large else 0), key
        assert tensors[f"{key}.alpha"] == number + (3 if large else 1), key
        seen.add(number)
    assert len(seen) == (24 if family == "sd1" else 20)


def test_without_ranks_for_convolutions_the_lists_leave_them_out() -> None:
    found = keys(network(whole("sd1"), block_dims=numbers(25, 1)).tensors())
    assert found == keys(network(whole("sd1")).tensors())


def test_text_encoders_keep_the_one_rank() -> None:
    made = network(whole("sd1"), network_dim=7, block_dims=numbers(25, 1), network_train_unet_only=False)
    ranks = {len(t) for name, t in made.tensors().items() if name.startswith("lora_te") and "down" in name}
    assert ranks == {7}


@BOTH
def test_each_block_learns_at_its_share_of_the_rate_and_one_without_has_no_layers(family: str) -> None:
    made = network(whole(family), down_lr_weight="0.5,0,0.25", up_lr_weight="zeros+.75", conv_dim=1)
    groups = {group["name"]: group["lr"] for group in made.groups(OptimizerSettings(unet_lr=0.5))}
    first = 0 if family == "sd1" else 1
    assert f"unet_block{first + 1}" not in groups
    assert groups[f"unet_block{first + 2}"] == pytest.approx(0.125)
    assert groups[f"unet_block{first + 4}"] == 0.5
    last = 24 if family == "sd1" else 21
    assert groups[f"unet_block{last}"] == pytest.approx(0.375)
    assert first + 1 not in {block_number(key, family) for key in keys(made.tensors())}


def test_a_share_that_is_not_above_the_threshold_counts_as_none() -> None:
    settings = NetworkSettings(down_lr_weight="0.1,0.2,0.3", block_lr_zero_threshold=0.2)
    rates = blocks_of(settings, "sd1").rates
    assert rates is not None
    assert rates[:4] == [0.0, 0.0, 0.3, 1.0]


@pytest.mark.parametrize(
    ("curve", "first", "last"),
    [("sine", 0, 1), ("cosine", 1, 0), ("linear", 0, 1), ("reverse_linear", 1, 0), ("zeros", 0, 0)],
)
def test_a_curve_runs_from_the_first_block_to_the_last(curve: str, first: float, last: float) -> None:
    rates = blocks_of(NetworkSettings(up_lr_weight=f"{curve}+.5"), "sdxl").rates
    assert rates is not None
    side = rates[13:22]
    assert (side[0], side[-1]) == pytest.approx((first + 0.5, last + 0.5))
    if curve == "sine":
        assert side[4] == pytest.approx(math.sin(math.pi / 4) + 0.5)


CASES: list[dict[str, Any]] = [
    {"down_lr_weight": "sine"},
    {"down_lr_weight": "cosine+.25", "up_lr_weight": "reverse_linear", "block_lr_zero_threshold": 0.3},
    {"mid_lr_weight": "0.5"},
    {"up_lr_weight": "1,,0.5", "down_lr_weight": "0.2,0.1"},
    {"up_lr_weight": "zeros+.5", "mid_lr_weight": "0"},
]


@pytest.mark.sd_scripts
@BOTH
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_shares_are_those_that_sd_scripts_works_out(family: str, case: dict[str, Any]) -> None:
    with sd_scripts() as theirs:
        wanted = theirs.parse_block_lr_kwargs(
            family == "sdxl", {key: str(value) for key, value in case.items()}
        )
    rates = blocks_of(NetworkSettings(**case), family).rates
    assert rates == pytest.approx(wanted)


RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")


@pytest.mark.sd_scripts
@pytest.mark.parametrize("ratios", [(4.0, None, None), (None, 2.0, None), (3.0, None, 5.0)], ids=str)
@pytest.mark.parametrize("blocks", [{}, {"mid_lr_weight": "0.5"}, {"mid_lr_weight": "0"}], ids=str)
def test_groups_of_weights_and_lora_plus_are_those_of_sd_scripts(
    ratios: tuple[float | None, ...], blocks: dict[str, Any]
) -> None:
    chosen = {key: ratio for key, ratio in zip(RATIOS, ratios, strict=True) if ratio is not None}
    base = whole("sd1")
    mine = network(base, network_train_unet_only=False, text_encoder_lr=(0.3,), **chosen, **blocks)
    found = {
        group["name"]: (group["lr"], sum(weight.numel() for weight in group["params"]))
        for group in mine.groups(OptimizerSettings(learning_rate=0.2))
    }
    with sd_scripts() as theirs:
        written = {key: str(value) for key, value in {**chosen, **blocks}.items()}
        made = theirs.create_network(1.0, 2, 1.0, None, base.text_encoders[0], base.unet, **written)
        made.apply_to(
            base.text_encoders[0], base.unet
        )  # before it, its layers count the base weights as theirs
        groups, names = made.prepare_optimizer_params(0.3, None, 0.2)
    wanted = {
        name: (group["lr"], sum(weight.numel() for weight in group["params"]))
        for name, group in zip(names, groups, strict=True)
    }
    assert found.keys() == wanted.keys()
    for name, (rate, weights) in wanted.items():
        assert found[name] == (pytest.approx(rate), weights)


@BOTH
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("block_dims", "4,4"),
        ("block_dims", "many"),
        ("block_dims", ",".join(["-1"] * 40)),
        ("down_lr_weight", numbers(13)),
        ("down_lr_weight", "sinus"),
        ("down_lr_weight", "sine+x"),
        ("up_lr_weight", "1,-1"),
        ("mid_lr_weight", "1,1,1,1"),
        ("mid_lr_weight", "sine"),
        ("block_alphas", "1"),
        ("conv_block_dims", "1"),
    ],
)
def test_a_list_that_cannot_be_used_is_named_before_anything_is_loaded(
    family: str, key: str, text: str
) -> None:
    settings = NetworkSettings(**{key: text})
    found = block_problems(settings, family)
    assert [problem.setting for problem in found] == [key]
    with pytest.raises(SettingsError):
        network(Parts(family, None, ()), **{key: text})


@BOTH
@pytest.mark.parametrize("key", ["block_dims", "down_lr_weight"])
def test_blocks_that_leave_nothing_to_train_are_refused_before_anything_is_loaded(
    family: str, key: str
) -> None:
    none, some = ",".join("0" * COUNT[family]), numbers(COUNT[family], 1)
    shares = {"down_lr_weight": "zeros", "mid_lr_weight": "0,0,0"[: 2 * MIDDLE[family] - 1]}
    chosen = {"block_dims": none} if key == "block_dims" else {**shares, "up_lr_weight": "zeros"}
    (problem,) = block_problems(NetworkSettings(**chosen), family)
    assert (problem.setting, problem.mend) == (key, {key: None})
    assert "No block of the image part is left" in problem.what
    if key == "block_dims":
        for left in ({"conv_block_dims": some}, {"network_train_text_encoder_only": True}):
            assert block_problems(NetworkSettings(**chosen, **left), family) == []


def test_alphas_of_convolutions_without_ranks_are_refused() -> None:
    settings = NetworkSettings(block_dims=numbers(25, 1), conv_block_alphas=numbers(25, 1))
    assert [problem.setting for problem in block_problems(settings, "sd1")] == ["conv_block_alphas"]
