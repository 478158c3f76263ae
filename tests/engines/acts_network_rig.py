"""What each setting of the network does: layers, ranks, alphas, rates of blocks, dropouts, given files.

Covered: shapes and names in the saved file, and sizes of the first step, which AdamW makes equal to the rate.
Not covered: what the layers compute (see test_network.py).
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from acts_rig import FIRST, RATE, Act, Seen, close, differ, same_questions
from safetensors.torch import load_file

from lora_core.engines.diffusers.network_places import block_number

LYCORIS: Final = {"network_module": "lycoris.kohya", **FIRST}
LOKR: Final = {**LYCORIS, "algo": "lokr"}
CONVOLUTIONS: Final = {"conv_dim": 2, **FIRST}
MIDDLE: Final = "mid_block"


def ranks(seen: Seen, *parts: str) -> set[int]:
    return {tensor.shape[0] for tensor in seen.layers("lora_down", *parts).values()}


def alphas(seen: Seen, *parts: str) -> set[float]:
    return {float(tensor) for tensor in seen.layers(".alpha", *parts).values()}


def blocks(middle: float, others: float) -> str:
    """A list for the 25 blocks of SD 1.x, whose middle one is number 12."""
    return ",".join(str(middle if number == 12 else others) for number in range(25))


def lycoris_places(one: Seen, other: Seen) -> None:
    assert not one.layers("resnets")
    assert other.layers("resnets")
    assert other.notes["ss_network_module"] == "lycoris.kohya"


def rank_is(rank: int) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert (ranks(one), ranks(other)) == ({4}, {rank})

    return shows


def alpha_scales(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    assert (alphas(one), alphas(other)) == ({2.0}, {6.0})
    # The first gradient is that of the up weights alone, and they act through alpha / rank.
    close(other.norms[0], 3 * one.norms[0])


def convolutions_join(one: Seen, other: Seen) -> None:
    assert not one.layers("resnets")
    assert ranks(other, "resnets", "conv1") == {2}
    assert ranks(other, "attentions") == {4}


def convolutions_alpha(one: Seen, other: Seen) -> None:
    assert (alphas(one, "resnets", "conv1"), alphas(other, "resnets", "conv1")) == ({1.0}, {0.5})
    assert alphas(one, "attentions") == alphas(other, "attentions") == {2.0}


def text_joins(one: Seen, other: Seen) -> None:
    assert not one.layers("lora_te")
    assert other.layers("lora_te")
    assert differ(
        other.layers("lora_te", "lora_up"), {k: v * 0 for k, v in other.layers("lora_te", "lora_up").items()}
    )


def picture_leaves(one: Seen, other: Seen) -> None:
    assert one.layers("lora_unet")
    assert not other.layers("lora_unet")
    assert one.layers("lora_te").keys() == other.layers("lora_te").keys()


def text_rate(one: Seen, other: Seen) -> None:
    close([one.most("lora_te"), one.most("lora_unet")], [RATE, RATE], rtol=1e-2)
    close([other.most("lora_te"), other.most("lora_unet")], [0.002, RATE], rtol=1e-2)


def numbers_drop(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    assert one.losses == other.losses
    assert one.norms != other.norms
    assert differ(one.layers("lora_up"), other.layers("lora_up"))


def ranks_drop(one: Seen, other: Seen) -> None:
    numbers_drop(one, other)
    still = [int((up.flatten(1) == 0).all(dim=0).sum()) for up in other.layers("lora_up").values()]
    none = [int((up.flatten(1) == 0).all(dim=0).sum()) for up in one.layers("lora_up").values()]
    assert sum(none) == 0
    assert 0.2 < sum(still) / (4 * len(still)) < 0.8


def layers_drop(one: Seen, other: Seen) -> None:
    numbers_drop(one, other)
    still = [not bool(up.any()) for up in other.layers("lora_up").values()]
    assert all(bool(up.any()) for up in one.layers("lora_up").values())
    assert 0.2 < sum(still) / len(still) < 0.8


def goes_on_from(one: Seen, other: Seen) -> None:
    given = load_file(str(other.run.network.network_weights))
    assert not any(bool(up.any()) for up in one.layers("lora_up").values())
    assert given.keys() == other.lora.keys()
    assert all(torch.equal(given[name], other.lora[name]) for name in given)
    assert one.losses[0] != other.losses[0]


def shape_of_the_file(one: Seen, other: Seen) -> None:
    assert "network_dim" in one.refused
    assert ranks(other) == {4}


def built_in(one: Seen, other: Seen) -> None:
    assert torch.equal(one.uses[0].latents, other.uses[0].latents)
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].predicted, other.uses[0].predicted)
    close(other.most(), RATE, rtol=1e-2)  # what is trained begins at nothing all the same


def in_the_middle(
    find: Callable[..., set[Any]], *parts: str, middle: Any, before: Any
) -> Callable[[Seen, Seen], None]:
    """Only the middle block has another value."""

    def shows(one: Seen, other: Seen) -> None:
        assert find(one, *parts) == {before}
        assert find(other, MIDDLE, *parts) == {middle}
        assert find(other, "down_blocks", *parts) == find(other, "up_blocks", *parts) == {before}

    return shows


def half_the_rate(part: str) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        close(one.most(part), RATE, rtol=1e-2)
        for each in ("down_blocks", MIDDLE, "up_blocks"):
            close(other.most(each), RATE / 2 if each == part else RATE, rtol=1e-2)

    return shows


def slow_block_goes(one: Seen, other: Seen) -> None:
    assert one.layers(MIDDLE)
    assert not other.layers(MIDDLE)
    assert all(block_number(name, "sd1") != 12 for name in other.lora)


def has(part: str, *, instead_of: str = "") -> Callable[[Seen, Seen], None]:
    """The file has weights of this name, which it does not have otherwise."""

    def shows(one: Seen, other: Seen) -> None:
        assert not one.layers(part)
        assert other.layers(part)
        if instead_of:
            assert one.layers(instead_of)
            assert not other.layers(instead_of)

    return shows


def sizes_of_outputs(one: Seen, other: Seen) -> None:
    for name, up in one.layers("to_q.lora_up").items():
        scale = name.replace("lora_up.weight", "dora_scale")
        down = one.lora[name.replace("lora_up", "lora_down")]
        assert one.lora[scale].shape == (up.shape[0], 1)
        assert other.lora[scale].shape == (1, down.shape[1])


def attention_only(one: Seen, other: Seen) -> None:
    assert one.layers("resnets")
    assert other.lora
    assert all("attn" in name for name in other.lora)


def factor_is_two(one: Seen, other: Seen) -> None:
    sides = [min(tensor.shape[:2]) for tensor in other.layers("lokr_w1").values()]
    assert set(sides) == {2}
    assert {min(tensor.shape[:2]) for tensor in one.layers("lokr_w1").values()} != {2}


def second_part_whole(one: Seen, other: Seen) -> None:
    assert one.layers("lokr_w2_a")
    assert other.lora
    assert not other.layers("lokr_w2_")


def sides_swap(one: Seen, other: Seen) -> None:
    first, second = one.layers("to_q.lokr_w1"), other.layers("to_q.lokr_w1")
    assert first.keys() == second.keys()
    assert all(first[name].shape != second[name].shape for name in first)


def second_half_is_faster(part: str, *, other_part: str) -> Callable[[Seen, Seen], None]:
    """AdamW's first step is as long as the rate, and at the first step only the up weights move."""

    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        close([one.most(part), other.most(part)], [RATE, 4 * RATE], rtol=1e-2)
        if other_part:
            close([one.most(other_part), other.most(other_part)], [RATE, RATE], rtol=1e-2)

    return shows


def begins_with_a_scale_of_zero(one: Seen, other: Seen) -> None:
    """Only the scale moves at the first step, by the rate; the file has it multiplied in."""
    same_questions(one, other)
    assert one.lora.keys() == other.lora.keys()
    close(one.most(), RATE, rtol=1e-2)
    assert 0 < other.most() < 0.51 * RATE  # a half is the most that the up weights begin with


def root_of_the_rank(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    close(other.norms[0], 2 * one.norms[0])  # alpha / 2 in place of alpha / 4


MANY: Final = {"conv_dim": 2, "block_dims": blocks(4, 4), **FIRST}
BOTH_PARTS: Final = {"network_train_unet_only": False, **FIRST}
NETWORK: Final[dict[str, Act]] = {
    "network_module": Act("lycoris.kohya", lycoris_places, FIRST),
    "network_dim": Act(8, rank_is(8), FIRST),
    "network_alpha": Act(6.0, alpha_scales, FIRST),
    "conv_dim": Act(2, convolutions_join, FIRST),
    "conv_alpha": Act(0.5, convolutions_alpha, CONVOLUTIONS),
    "network_train_unet_only": Act(False, text_joins, FIRST),
    "network_train_text_encoder_only": Act(True, picture_leaves, {"network_train_unet_only": False, **FIRST}),
    "text_encoder_lr": Act((0.002,), text_rate, {"network_train_unet_only": False, **FIRST}),
    "network_dropout": Act(0.5, numbers_drop, FIRST),
    "rank_dropout": Act(0.5, ranks_drop, {"batch_size": 1, **FIRST}),
    "module_dropout": Act(0.5, layers_drop, FIRST),
    "network_weights": Act(lambda twins: twins.lora_file(), goes_on_from, {"learning_rate": 0.0, **FIRST}),
    "dim_from_weights": Act(
        True,
        shape_of_the_file,
        {"network_weights": lambda twins: twins.lora_file(), "network_dim": 8, **FIRST},
    ),
    "base_weights": Act(lambda twins: (twins.lora_file(),), built_in, FIRST),
    "base_weights_multiplier": Act(
        (0.5,), built_in, {"base_weights": lambda twins: (twins.lora_file(),), **FIRST}
    ),
    "block_dims": Act(blocks(6, 4), in_the_middle(ranks, middle=6, before=4), FIRST),
    "block_alphas": Act(
        blocks(3.0, 2.0),
        in_the_middle(alphas, middle=3.0, before=2.0),
        {"block_dims": blocks(4, 4), **FIRST},
    ),
    "conv_block_dims": Act(blocks(3, 2), in_the_middle(ranks, "conv1", middle=3, before=2), MANY),
    "conv_block_alphas": Act(blocks(0.5, 1.0), in_the_middle(alphas, "conv1", middle=0.5, before=1.0), MANY),
    "down_lr_weight": Act(",".join(["0.5"] * 12), half_the_rate("down_blocks"), FIRST),
    "mid_lr_weight": Act("0.5", half_the_rate(MIDDLE), FIRST),
    "up_lr_weight": Act(",".join(["0.5"] * 12), half_the_rate("up_blocks"), FIRST),
    "block_lr_zero_threshold": Act(0.1, slow_block_goes, {"mid_lr_weight": "0.05", **FIRST}),
    "loraplus_lr_ratio": Act(4.0, second_half_is_faster("lora_unet", other_part=""), FIRST),
    "loraplus_unet_lr_ratio": Act(4.0, second_half_is_faster("lora_unet", other_part="lora_te"), BOTH_PARTS),
    "loraplus_text_encoder_lr_ratio": Act(
        4.0, second_half_is_faster("lora_te", other_part="lora_unet"), BOTH_PARTS
    ),
    "algo": Act("loha", has("hada_w1_a", instead_of="lora_down"), LYCORIS),
    "dora_wd": Act(True, has("dora_scale"), LYCORIS),
    "wd_on_output": Act(False, sizes_of_outputs, {"dora_wd": True, **LYCORIS}),
    "preset": Act("attn-only", attention_only, LYCORIS),
    "factor": Act(2, factor_is_two, LOKR),
    "decompose_both": Act(True, has("lokr_w1_a"), {**LOKR, "network_dim": 1}),
    "full_matrix": Act(True, second_part_whole, {**LOKR, "network_dim": 1}),
    "unbalanced_factorization": Act(True, sides_swap, {**LOKR, "factor": 2}),
    "use_tucker": Act(True, has("lora_mid"), {**LYCORIS, "algo": "locon", "conv_dim": 2}),
    "use_scalar": Act(True, begins_with_a_scale_of_zero, LYCORIS),
    "rs_lora": Act(True, root_of_the_rank, LYCORIS),
}
