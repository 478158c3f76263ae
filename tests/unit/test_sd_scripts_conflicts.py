"""Each conflict that is called an error is refused by sd-scripts itself: its own code is run on the case.

Not covered: what shows only with a model in memory or with a package that is not here; `NOT_RUN` says which.
"""

import ast
import contextlib
import functools
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from sd_scripts_code import piece
from test_conflicts import CASES, ROWS, a_run, run_of

from lora_core.settings import CONFIG_NAME, DATASET_NAME, RunConfig, known, parse, run_files, with_values
from lora_core.settings.conflicts import Seen
from lora_core.settings.conflicts.families import FILES

pytestmark = pytest.mark.sd_scripts

TRAIN = "library/train_util.py"
TRAINERS = {
    "sdxl": ("sdxl_train_network.py", "SdxlNetworkTrainer"),
    "sd3": ("sd3_train_network.py", "Sd3NetworkTrainer"),
    "flux1": ("flux_train_network.py", "FluxNetworkTrainer"),
    "chroma": ("flux_train_network.py", "FluxNetworkTrainer"),
    "lumina": ("lumina_train_network.py", "LuminaNetworkTrainer"),
    "hunyuan-image": ("hunyuan_image_train_network.py", "HunyuanImageNetworkTrainer"),
    "anima": ("anima_train_network.py", "AnimaNetworkTrainer"),
}


class Anything:
    """Stands for modules that are named and not used here."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()


def source(path: str) -> str:
    return (Path(os.environ["LORA_SD_SCRIPTS"]) / path).read_text("utf-8")


def arguments(run: RunConfig, family: str) -> SimpleNamespace:
    """What the script of the family would read: its own defaults, then what the app writes."""
    begins = {key: default for key, (_, default) in known.by_script()[known.SCRIPTS[family]].items()}
    return SimpleNamespace(**{**begins, **parse(run_files(run)[CONFIG_NAME], CONFIG_NAME)})


class Images:
    """A dataset of sd-scripts without its images: what its checks ask of one."""

    def __init__(self, run: RunConfig) -> None:
        tables = parse(run_files(run)[DATASET_NAME], DATASET_NAME)["datasets"]
        whole = run.dataset.datasets[0]
        on = tables[0].get("enable_bucket", whole.enable_bucket)
        self.bucket_reso_steps = tables[0].get("bucket_reso_steps", whole.bucket_reso_steps) if on else None
        self.subsets = [subset for dataset in run.dataset.datasets for subset in dataset.subsets]

    def __getattr__(self, name: str) -> Any:
        asked = piece(f"BaseDataset.{name}")
        return lambda *values, **named: asked(self, *values, **named)

    def get_resolutions(self) -> list[tuple[int, int]]:
        return []


def trainer(family: str) -> Any:
    """The trainer of a family, with its own checks and those of its base."""
    quiet = mock.MagicMock()
    names = {
        "torch": torch,
        "logger": quiet,
        "train_util": Anything(),
        "sdxl_model_util": SimpleNamespace(VAE_SCALE_FACTOR=1.0),
    }
    base = piece("NetworkTrainer", "train_network.py", **names)
    if family not in TRAINERS:
        return base()
    sdxl = SimpleNamespace(
        verify_sdxl_training_args=piece(
            "verify_sdxl_training_args", "library/sdxl_train_util.py", logger=quiet
        )
    )
    file, name = TRAINERS[family]
    known_names = {**names, "train_network": SimpleNamespace(NetworkTrainer=base), "sdxl_train_util": sdxl}
    return piece(name, file, **known_names)()


def before_loading(run: RunConfig, family: str) -> None:
    """The checks of sd-scripts before a model is loaded, in their order."""
    args, images = arguments(run, family), Images(run)
    piece("verify_training_args", enable_high_vram=lambda _: None, logger=mock.MagicMock())(args)
    if args.cache_latents:
        asserted("train_network.py", "when caching latents", args, train_dataset_group=images)
    trainer(family).assert_extra_args(args, images, None)


def asserted(file: str, words: str, args: Any, **names: Any) -> None:
    """The line of `file` that asserts, with these words, where the lines around it let it come to that."""
    scope = {"args": args, "torch": torch, **names}
    tree = ast.parse(source(file))
    for conditions, line in _asserts(tree.body, ()):
        if words in ast.unparse(line):
            needed = [c for c in conditions if "args" in ast.unparse(c) or "initial_step" in ast.unparse(c)]
            if all(eval(ast.unparse(c), scope) for c in needed):  # noqa: S307  the checkout that the tester named
                assert eval(ast.unparse(line.test), scope), words  # noqa: S307  as above
            return
    raise LookupError(words)


def _asserts(body: list[ast.stmt], conditions: tuple[ast.expr, ...]) -> Iterator[tuple[Any, ast.Assert]]:
    for node in body:
        if isinstance(node, ast.Assert):
            yield conditions, node
        elif isinstance(node, ast.If):
            yield from _asserts(node.body, (*conditions, node.test))
            yield from _asserts(node.orelse, conditions)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from _asserts(node.body, ())


def optimizer_of(run: RunConfig, family: str, rates: tuple[float, ...] = (1e-4,)) -> Any:
    """The optimizer that sd-scripts makes; a part without a rate is left out, as its networks do."""
    args = arguments(run, family)
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates if rate]
    make = piece(
        "get_optimizer", torch=torch, logger=mock.MagicMock(), ast=ast, transformers=_transformers(),
        importlib=__import__("importlib"), OptimizerProxy=None,
    )  # fmt: skip
    # One that is there and has nothing: only the names that sd-scripts itself knows are asked for.
    with mock.patch.dict(sys.modules, bitsandbytes=types.ModuleType("bitsandbytes")):
        return args, make(args, groups)[2]


def _transformers() -> Any:
    import transformers.optimization

    return transformers


def schedule_of(run: RunConfig, family: str) -> Any:
    from diffusers.optimization import TYPE_TO_SCHEDULER_FUNCTION as OF_DIFFUSERS
    from diffusers.optimization import SchedulerType as DiffusersType
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
    from transformers.trainer_utils import SchedulerType

    args, optimizer = optimizer_of(run, family)
    make = piece(
        "get_scheduler_fix", torch=torch, logger=mock.MagicMock(), ast=ast, transformers=_transformers(),
        importlib=__import__("importlib"), SchedulerType=SchedulerType, Optional=None,
        TYPE_TO_SCHEDULER_FUNCTION=TYPE_TO_SCHEDULER_FUNCTION, DiffusersSchedulerType=DiffusersType,
        DIFFUSERS_TYPE_TO_SCHEDULER_FUNCTION=OF_DIFFUSERS,
        is_schedulefree_optimizer=piece("is_schedulefree_optimizer"),
    )  # fmt: skip
    schedule = make(args, optimizer, 1)
    optimizer.step()
    schedule.step()


def a_step(run: RunConfig, family: str) -> None:
    """One step with a rate for each part; a share of a rate is one more rate."""
    rates = (1.0, 0.5)
    _, optimizer = optimizer_of(run, family, rates)
    for group in optimizer.param_groups:
        group["params"][0].grad = torch.ones(2)
    optimizer.step()


def only_what_has_a_rate(run: RunConfig, family: str) -> None:
    args = arguments(run, family)
    unet = args.unet_lr if args.unet_lr is not None else args.learning_rate
    text = (args.text_encoder_lr or [args.learning_rate])[0]
    parts = [] if args.network_train_text_encoder_only else [unet]
    optimizer_of(run, family, tuple(parts + ([] if args.network_train_unet_only else [text])))


def network_of(run: RunConfig, family: str) -> None:
    """The network of sd-scripts, as far as its arguments are read."""
    args = arguments(run, family)
    file = f"{args.network_module.replace('.', '/')}.py"
    given = dict(item.split("=", 1) for item in args.network_args or [])
    names = {
        "LoRANetwork": _Blocks, "DyLoRANetwork": Anything(), "logger": mock.MagicMock(), "os": os,
        "NUM_DOUBLE_BLOCKS": 19, "NUM_SINGLE_BLOCKS": 38, "ast": ast,
        "SdxlUNet2DConditionModel": _Sdxl, "parse_ints": None, "math": __import__("math"),
    }  # fmt: skip
    if args.network_module == "networks.lora":
        for name in ("get_block_lr_weight", "parse_block_lr_kwargs", "get_block_dims_and_alphas",
                     "remove_block_dims_and_alphas"):  # fmt: skip
            names[name] = piece(name, file, **names)
    unet = _Sdxl() if family == "sdxl" else object()
    piece("create_network", file, **names)(
        1.0, args.network_dim, args.network_alpha, None, [object()], unet, **given
    )


class _Sdxl:
    pass


class _Blocks(Anything):
    """Numbers of blocks, which the functions for networks ask the class for."""

    NUM_OF_BLOCKS, NUM_OF_MID_BLOCKS, SDXL_NUM_OF_BLOCKS, SDXL_NUM_OF_MID_BLOCKS = 12, 1, 9, 3

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


def dylora_layer(run: RunConfig, family: str) -> None:
    args = arguments(run, family)
    unit = int(dict(item.split("=", 1) for item in args.network_args)["unit"])
    names = {"self": SimpleNamespace(lora_dim=args.network_dim, unit=unit)}
    asserted("networks/dylora.py", "rank must be a multiple of unit", args, **names)


def oft_layer(run: RunConfig, family: str) -> None:
    piece("OFTModule", "networks/oft_flux.py", torch=torch)(
        "one", torch.nn.Linear(4, 3072), dim=arguments(run, family).network_dim
    )


SWAPPING = {
    "flux1": ("library/flux_models.py", "Flux", {"num_double_blocks": 19, "num_single_blocks": 38}),
    "hunyuan-image": (
        "library/hunyuan_image_models.py",
        "HYImageDiffusionTransformer",
        {"num_double_blocks": 20, "num_single_blocks": 40},
    ),
    "anima": ("library/anima_models.py", "Anima", {"num_blocks": 28, "blocks": []}),
    "sd3": ("library/sd3_models.py", "MMDiT", {"num_blocks": 38, "joint_blocks": []}),
    "lumina": ("library/lumina_models.py", "NextDiT", {"layers": [0] * 26}),
}


def swap(run: RunConfig, family: str) -> None:
    file, name, model = SWAPPING[family]
    names = {"custom_offloading_utils": Anything(), "logger": mock.MagicMock(), "print": lambda *_: None}
    call = piece(f"{name}.enable_block_swap", file, **names)
    call(mock.MagicMock(**model), arguments(run, family).blocks_to_swap, "cpu")


def huber(run: RunConfig, family: str) -> None:
    args = arguments(run, family)
    flow = SimpleNamespace(config=SimpleNamespace(num_train_timesteps=1000))
    piece("get_huber_threshold_if_needed", torch=torch)(args, torch.tensor([5]), flow)


def weighed_captions(run: RunConfig, family: str) -> None:
    if arguments(run, family).weighted_captions:
        piece("TokenizeStrategy", "library/strategy_base.py").tokenize_with_weights(None, "a (cat:2)")


def both_trained_and_kept(run: RunConfig, family: str) -> None:
    before_loading(run, family)
    given = arguments(run, family)
    made = trainer(family)
    network = SimpleNamespace(train_t5xxl="train_t5xxl=True" in (given.network_args or []))
    made.post_process_network(given, None, network, None, None)


def sampled(run: RunConfig, family: str) -> None:
    args = arguments(run, family)
    draw = piece("sample_images_common", logger=mock.MagicMock(), os=os, PartialState=_Stop)
    draw(None, Anything(), args, 1, 5, "cpu", None, None, None, None)


class _Stop(BaseException):
    """Raised where samples would be drawn."""


def first_step(run: RunConfig, family: str) -> None:
    args = arguments(run, family)
    start = args.initial_step or ((args.initial_epoch or 1) - 1) * 10
    args.max_train_steps = args.max_train_epochs * 10 if args.max_train_epochs else args.max_train_steps
    words = "max_train_steps should be greater than initial step"
    asserted("train_network.py", words, args, initial_step=start)


def number_formats(flag: str) -> Callable[[RunConfig, str], None]:
    def look(run: RunConfig, family: str) -> None:
        args = arguments(run, family)
        asserted("train_network.py", f"{flag} requires mixed precision", args)

    return look


def checked_dataset(run: RunConfig, family: str) -> None:
    voluptuous = pytest.importorskip("voluptuous")  # sd-scripts' own need, and nobody else's
    args = arguments(run, family)
    with mock.patch.dict(sys.modules):
        makes = piece(
            "ConfigSanitizer", "library/config_util.py", voluptuous=voluptuous, Schema=voluptuous.Schema,
            Any=voluptuous.Any, ExactSequence=voluptuous.ExactSequence, Object=voluptuous.Object,
            MultipleInvalid=voluptuous.error.MultipleInvalid, logger=mock.MagicMock(), functools=functools,
        )  # fmt: skip
    table = parse(run_files(run)[DATASET_NAME], DATASET_NAME)
    makes(True, True, args.masked_loss, True).sanitize_user_config(table)


RUN: dict[str, Callable[[RunConfig, str], None]] = {
    **dict.fromkeys(
        (
            "Chroma without its mask", "SDXL as SD 2", "a noise by brightness without an offset",
            "weights for v without v", "a loss like v beside v", "a text part that is trained and read once",
            "color_aug beside kept images", "random_crop beside kept images", "buckets of another step",
            "swapped blocks beside offloaded checkpoints", "two ways of offloading checkpoints",
            "swapped blocks beside unsloth's checkpoints",
            *(f"{key} beside captions that are read once" for key in
              ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step", "caption_dropout_rate")),
        ),
        before_loading,
    ),
    **dict.fromkeys(
        (
            "constant with a warm-up", "a named schedule with a warm-up",
            "Adafactor's own rate with a warm-up",
            "the schedule adafactor without Adafactor's own rate", "cosine_with_min_lr without a lowest rate",
            "piecewise_constant without its pieces", "a schedule that follows a test loss",
            "AdEMAMix by its short name", "an optimizer that does not exist",
            "a sum of steps for Adafactor's fused pass", "a fused pass without Adafactor",
        ),
        schedule_of,
    ),
    **dict.fromkeys(("all rates at 0", "both parts left out"), only_what_has_a_rate),
    "Huber by SNR on a flow": huber,
    "weights in captions that the family does not read": weighed_captions,
    "T5 that is trained and read once": both_trained_and_kept,
    "samples without a prompt": sampled,
    **dict.fromkeys(("a first step behind the end", "a first epoch behind the end"), first_step),
    **{f"{flag} beside another precision": number_formats(flag) for flag in ("full_fp16", "full_bf16")},
    **{f"{flag} in full precision": number_formats("fp8_base") for flag in ("fp8_base", "fp8_base_unet")},
    **{f"more blocks than can be swapped in {family}": swap for family in SWAPPING},
    **dict.fromkeys(
        (
            "DyLoRA with two ranks", "in_dims of another length", "emb_dims of another length",
            "embedder_dims of another length", "train_blocks of another family",
            "train_double_block_indices names a block that is not there",
            "train_single_block_indices names a block that is not there",
            *(f"{key} for another number of blocks" for key in
              ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")),
            *(f"{key} that is no curve" for key in ("down_lr_weight", "mid_lr_weight", "up_lr_weight")),
        ),
        network_of,
    ),
    "DyLoRA in parts that do not fit": dylora_layer,
    "OFT on FLUX in parts that do not fit": oft_layer,
    **dict.fromkeys(
        ("masks that are turned off", "folders with and without masks in one dataset"), checked_dataset
    ),
    "another number of betas": a_step,
}  # fmt: skip
RATES = ("two rates for an optimizer that takes one", "rates of parts for an optimizer that takes one")
NOT_RUN = {
    **dict.fromkeys((f"no {key}" for key in FILES), "a missing file is met when a model is loaded"),
    **dict.fromkeys(("SD 2 without its switch", "SD 1 as SD 2"), "it shows when a model is loaded"),
    "REX without gamma": "its package is not here",
    "a network of another family": "it shows when the layers of a model are looked through",
    "only the text part of HunyuanImage": "as above",
    "only the text part of Chroma": "as above",
    "a shape from nowhere": "it shows when the network is made on a model",
}
REFUSALS = (AssertionError, ValueError, TypeError, AttributeError, NotImplementedError, IndexError)
ERRORS = [name for name, row in ROWS.items() if row.severity == "error"]


@pytest.mark.parametrize("name", ERRORS)
def test_the_words_of_a_refusal_stand_in_sd_scripts(name: str) -> None:
    file, words = ROWS[name].source
    if file:
        assert words in source(file)


def test_each_error_is_run_or_says_why_not() -> None:
    assert set(ERRORS) == {*RUN, *NOT_RUN, *RATES}


@pytest.mark.parametrize("name", RUN)
def test_sd_scripts_refuses_what_is_called_an_error_and_takes_what_mends_it(name: str) -> None:
    run, family = run_of(name)
    refusal: Any = REFUSALS
    if RUN[name] is checked_dataset:
        refusal = pytest.importorskip("voluptuous").MultipleInvalid
    with pytest.raises(refusal):
        RUN[name](run, family)
    mend = ROWS[name].problem(Seen(run, family)).mend
    if mend and name != "AdEMAMix by its short name":  # whose package may not be here
        with contextlib.suppress(_Stop):
            RUN[name](with_values(run, mend), family)


@pytest.mark.parametrize("name", RATES)
def test_an_optimizer_that_takes_one_rate_stops_at_a_second(name: str) -> None:
    run, family = run_of(name)
    with pytest.raises(RuntimeError, match=ROWS[name].source[1]):
        a_step(run, family)


@pytest.mark.parametrize("family", TRAINERS)
def test_a_plain_run_of_each_family_passes_the_checks(family: str) -> None:
    before_loading(a_run(family), family)


@pytest.mark.parametrize("name", [name for name in CASES if ROWS[name].severity == "advice"])
def test_what_is_called_advice_is_not_refused_before_a_model_is_loaded(name: str) -> None:
    run, family = run_of(name)
    before_loading(run, family)
