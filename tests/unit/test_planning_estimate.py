"""Estimates: memory against exact counts, disk, time, the card, and changes that make a run fit."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from shaped_bases import shaped_base
from test_planning import a_run, pictures

from lora_core import machine, planning
from lora_core.engines.diffusers.optimizer_names import CLASSES
from lora_core.planning import disk, estimates, recorded
from lora_core.planning import free as free_now
from lora_core.planning.free import Free
from lora_core.planning.layers import layers_of
from lora_core.planning.lora_size import factors, lora_size
from lora_core.planning.memory import CONTEXT, MODEL, memory
from lora_core.planning.words import duration, size
from lora_core.settings import SD_SCRIPTS, RunConfig, with_values
from lora_core.settings.conflicts import sd_scripts_problems
from lora_core.workspace import Workspace, write_json

GIB = 2**30
Make = Callable[..., RunConfig]

EXACT = [
    # Megabytes of all tensors at the peak of a step, counted one by one (docs/benchmarks.md has the method):
    # family, pixels, batch, rank, gradient checkpointing, precision, megabytes
    ("sd1", 512, 1, 16, True, "bf16", 2151.2),
    ("sd1", 512, 1, 16, False, "bf16", 3174.4),
    ("sd1", 512, 4, 16, True, "bf16", 3197.3),
    ("sd1", 512, 4, 16, False, "bf16", 7254.1),
    ("sd1", 768, 1, 16, True, "bf16", 2586.3),
    ("sd1", 768, 1, 16, False, "bf16", 4864.3),
    ("sd1", 512, 1, 64, True, "bf16", 2409.1),
    ("sd1", 512, 1, 64, False, "bf16", 3485.2),
    ("sd1", 512, 1, 16, True, "no", 4007.6),
    ("sd1", 512, 1, 16, False, "no", 5413.0),
    ("sdxl", 1024, 1, 16, True, "bf16", 6454.0),
    ("sdxl", 1024, 1, 16, False, "bf16", 14646.0),
    ("sdxl", 768, 1, 16, True, "bf16", 6127.0),
    ("sdxl", 768, 1, 16, False, "bf16", 10777.0),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SD 1.x and SDXL in their real sizes, without a byte of weights."""
    folder = tmp_path_factory.mktemp("bases")
    return {family: shaped_base(folder / family, family) for family in ("sd1", "sdxl")}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def make(tmp_path: Path, bases: dict[str, Path]) -> Make:
    def run(family: str = "sd1", side: int = 512, **values: Any) -> RunConfig:
        folder = tmp_path / f"images{side}"
        if not folder.exists():
            pictures(folder, {(side, side): 6})
        given = {"min_bucket_reso": 64, "max_bucket_reso": 2048, "bucket_reso_steps": 64, **values}
        return a_run(folder, pretrained_model_name_or_path=bases[family], resolution=side, **given)

    return run


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what is free."""

    def say(*, gpu: float | None = None, ram: float = 64, disk: float = 500, **more: Any) -> None:
        there = Free(
            device="cpu" if gpu is None else "cuda",
            device_name="a card",
            gpu=None if gpu is None else int(gpu * GIB),
            gpu_total=None if gpu is None else int(gpu * GIB),
            ram=int(ram * GIB),
            disk=int(disk * GIB),
            bf16=True,
        )
        monkeypatch.setattr(estimates, "free", lambda _: replace(there, **more))

    return say


def line(found: planning.Estimate, kind: str) -> planning.Line:
    one = found.line(kind)
    assert one is not None
    assert one.sentence.endswith(".")
    return one


@pytest.mark.parametrize(
    ("family", "side", "batch", "rank", "checkpointing", "precision", "megabytes"), EXACT
)
def test_the_memory_of_a_step_is_counted_within_4_percent(
    make: Make,
    family: str,
    side: int,
    batch: int,
    rank: int,
    checkpointing: bool,
    precision: str,
    megabytes: float,
) -> None:
    run = make(
        family,
        side,
        batch_size=batch,
        network_dim=rank,
        gradient_checkpointing=checkpointing,
        mixed_precision=precision,
        cache_text_encoder_outputs=True,
        vae_batch_size=1,
    )
    found = memory(run, device="cuda", plan=planning.plan(run))
    assert found is not None
    assert found.gpu_phase is not None
    assert found.gpu_phase.name == "Training"
    assert found.gpu / 1e6 == pytest.approx(megabytes, rel=0.04)


def test_the_layers_are_those_of_the_published_models(bases: dict[str, Path]) -> None:
    sd1, sdxl = layers_of(bases["sd1"]), layers_of(bases["sdxl"])
    assert sd1 is not None
    assert sdxl is not None
    assert (sd1.unet_weights, sd1.text_weights, sd1.vae_width) == (859_520_964, 123_060_480, 128)
    assert (sdxl.unet_weights, sdxl.text_width) == (2_567_463_684, 768 + 1280)
    assert {layer.level for layer in sd1.layers if layer.part == "unet"} == {0, 1, 2, 3}
    assert {layer.level for layer in sdxl.layers if layer.part == "unet"} == {0, 1, 2}


@pytest.mark.parametrize(("family", "rank", "megabytes"), [("sd1", 16, 13.5), ("sdxl", 16, 85.1)])
def test_a_file_has_the_size_of_its_shapes(
    bases: dict[str, Path], family: str, rank: int, megabytes: float, make: Make
) -> None:
    base = layers_of(bases[family])
    assert base is not None
    found = lora_size(base, make(family, network_dim=rank).network)
    assert found.weights * 2 / 1e6 == pytest.approx(megabytes, rel=0.02)
    assert found.file_bytes("float") > found.file_bytes("fp16") > found.weights * 2


def test_a_model_that_cannot_be_read_has_no_layers(tmp_path: Path) -> None:
    assert layers_of(tmp_path / "nothing") is None


def test_every_optimizer_with_a_name_has_an_amount(make: Make) -> None:
    from lora_core.planning.memory import _OPTIMIZER_BYTES

    assert {name.rpartition(".")[2].lower() for name in CLASSES} <= _OPTIMIZER_BYTES.keys()
    needs = {}
    for name in ("Prodigy", "AdamW", "Lion", "AdamW8bit", "Adafactor"):
        found = memory(make(optimizer_type=name, network_dim=128), device="cuda")
        assert found is not None
        assert found.gpu_phase is not None
        needs[name] = found.gpu_phase.parts["Optimizer"]
    assert list(needs.values()) == sorted(needs.values(), reverse=True)


@pytest.mark.parametrize("of", [127, 128, 250, 360, 512, 1024, 320, 1280, 2048, 5])
@pytest.mark.parametrize("factor", [-1, 2, 4, 8, 16])
def test_lokr_cuts_a_layer_as_lycoris_does(of: int, factor: int) -> None:
    from lycoris.functional import factorization

    assert factors(of, factor) == factorization(of, factor)


@pytest.mark.parametrize(
    ("values", "less"),
    [
        ({"gradient_checkpointing": True}, True),
        ({"cache_text_encoder_outputs": True}, True),
        ({"optimizer_type": "AdamW8bit"}, True),
        ({"mixed_precision": "bf16"}, True),
        ({"mixed_precision": "bf16", "fp8_base": True}, True),
        ({"batch_size": 4}, False),
        ({"network_dim": 256}, False),
        ({"network_train_unet_only": False}, False),
        ({"cache_latents": False, "batch_size": 2}, False),
        ({"gradient_accumulation_steps": 4, "network_dim": 64}, False),
        ({"network_module": "lycoris.kohya", "dora_wd": True}, False),
    ],
)
def test_a_setting_moves_the_need_in_its_direction(make: Make, values: dict[str, Any], less: bool) -> None:
    plain, changed = memory(make(), device="cuda"), memory(make(**values), device="cuda")
    assert plain is not None
    assert changed is not None
    assert (changed.gpu < plain.gpu) is less


def test_the_card_says_fits_tight_and_will_not_fit_by_what_is_free(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    run = make("sdxl", 1024, mixed_precision="bf16", gradient_checkpointing=True)
    verdicts = []
    for gpu in (80, 11, 6):
        has(gpu=gpu)
        found = line(planning.estimate(run, "diffusers", ws), "gpu")
        verdicts.append(found.verdict)
        assert found.basis == "counted"
        assert "not measured on this machine" in found.sentence
        assert sum(found.parts.values()) + CONTEXT == found.needed
    assert verdicts == ["fits", "tight", "will not fit"]


def test_on_a_processor_the_card_has_no_line_for_a_gpu(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(ram=2)
    found = planning.estimate(make(), "diffusers", ws)
    assert [one.kind for one in found.card] == ["memory", "disk", "time"]
    assert [one.kind for one in found.too_much] == ["memory"]
    assert line(found, "time").verdict == "not measured"
    assert "Try two steps" in line(found, "time").sentence


def test_what_is_not_known_is_not_claimed(make: Make, ws: Workspace, has: Callable[..., None]) -> None:
    has(gpu=8, device=None)
    assert line(planning.estimate(make(), "diffusers", ws), "gpu").verdict == "not measured"
    has(gpu=8, gpu_total=None)
    lost = with_values(make(), {"pretrained_model_name_or_path": "/no/base"})
    found = planning.estimate(lost, "diffusers", ws)
    assert {one.kind: one.verdict for one in found.card} == dict.fromkeys(
        ("gpu", "memory", "disk", "time"), "not measured"
    )
    assert (found.saves, found.steps) == (None, 1600)


def test_a_driver_that_does_not_tell_what_is_free_leaves_the_need(
    make: Make, ws: Workspace, has: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    has(gpu=8)
    there = estimates.free(ws)
    monkeypatch.setattr(estimates, "free", lambda _: replace(there, gpu=None))
    found = line(planning.estimate(make(), "diffusers", ws), "gpu")
    assert (found.verdict, found.free) == ("not measured", None)
    assert found.needed


def a_record(run: RunConfig, **changes: Any) -> dict[str, Any]:
    like = recorded.likeness(run, "diffusers")
    assert like is not None
    one = recorded.Measured(
        kind="train",
        at=time.time(),
        job="20260101-000000-000000-abcd",
        like=like,
        rank=run.network.network_dim,
        optimizer=run.optimizer.optimizer_type,
        device="cuda",
        steps=100,
        step_s=(0.5, 0.6, 0.8),
        start_s=30.6,
        gpu_mib=5000.0,
        ram_mib=3000.0,
        counted_gpu_mib=4000.0,
        counted_ram_mib=4000.0,
    )
    return {"format": 1, "model": MODEL, "host": socket.gethostname(), **asdict(replace(one, **changes))}


def keep(ws: Workspace, *found: dict[str, Any]) -> None:
    with (ws.root / recorded.FILE).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in found)


def test_time_is_a_range_from_runs_of_the_same_kind(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    run = make(max_train_steps=1000)
    keep(ws, a_record(run), a_record(run, step_s=(0.4, 0.7, 1.0), start_s=60.7))
    found = planning.estimate(run, "diffusers", ws)
    assert found.seconds is not None
    assert (round(found.seconds.low), round(found.seconds.high), found.seconds.runs) == (430, 1060, 2)
    assert "from 7 minutes to 18 minutes" in line(found, "time").sentence
    for other in ({"batch_size": 2}, {"mixed_precision": "bf16"}, {"resolution": (448, 448)}):
        assert planning.estimate(with_values(run, other), "diffusers", ws).seconds is None, other
    has()
    assert planning.estimate(run, "diffusers", ws).seconds is None, "a processor is another device"


def test_a_finished_training_counts_more_than_two_tried_steps(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    run = make(max_train_steps=100)
    keep(ws, a_record(run, kind="smoke", step_s=(9.0, 9.0, 9.0)))
    tried = planning.estimate(run, "diffusers", ws).seconds
    assert tried is not None
    assert (tried.smoke_only, tried.step) == (True, 9.0)
    keep(ws, a_record(run))
    trained = planning.estimate(run, "diffusers", ws).seconds
    assert trained is not None
    assert (trained.smoke_only, trained.step) == (False, 0.6)


def test_what_was_measured_replaces_the_count_and_corrects_its_neighbours(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    run = make()
    counted = line(planning.estimate(run, "diffusers", ws), "gpu")
    keep(ws, a_record(run))
    measured = line(planning.estimate(run, "diffusers", ws), "gpu")
    assert (measured.basis, measured.needed) == ("measured", 5000 * 2**20 + CONTEXT)
    assert "not measured" not in measured.sentence
    wider = make(network_dim=32)
    own = memory(wider, device="cuda", plan=planning.plan(wider))
    corrected = line(planning.estimate(wider, "diffusers", ws), "gpu")
    assert own is not None
    assert corrected.basis == "corrected"
    assert corrected.needed == pytest.approx(own.gpu * 1.25 + CONTEXT, abs=2)
    other = line(planning.estimate(make("sdxl"), "diffusers", ws), "gpu")
    assert other.basis == "counted"
    assert counted.basis == "counted"


def test_a_count_of_an_older_model_corrects_nothing(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    run = make()
    keep(ws, {**a_record(run), "model": MODEL - 1})
    assert line(planning.estimate(make(network_dim=32), "diffusers", ws), "gpu").basis == "counted"
    assert planning.estimate(run, "diffusers", ws).seconds is not None


def test_samples_count_where_only_two_steps_were_tried(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    run = make(sample_prompts=("a cat --w 2048 --h 2048",), sample_every_n_epochs=1)
    keep(ws, a_record(run, kind="smoke", gpu_mib=100.0))
    found = line(planning.estimate(run, "diffusers", ws), "gpu")
    assert (found.needed or 0) > 10 * GIB
    assert found.basis == "corrected"
    assert "needs about" in found.sentence, "two steps without samples did not measure this"


@pytest.mark.parametrize(
    ("values", "saves", "kept", "states"),
    [
        ({"max_train_epochs": 10, "save_every_n_epochs": 1}, 10, 10, 0),
        ({"max_train_epochs": 10, "save_every_n_epochs": 1, "save_last_n_epochs": 3}, 10, 4, 0),
        ({"max_train_epochs": 10, "save_every_n_epochs": 3, "save_state": True}, 4, 4, 4),
        ({"max_train_epochs": 10, "save_n_epoch_ratio": 3, "save_every_n_epochs": 1}, 4, 4, 0),
        ({"max_train_epochs": 10, "save_n_epoch_ratio": 20, "save_last_n_epochs": 2}, 10, 3, 0),
        ({"max_train_steps": 20, "save_every_n_steps": 5}, 5, 5, 0),
        ({"max_train_steps": 20, "save_every_n_steps": 5, "save_last_n_steps": 10}, 5, 4, 0),
        ({"max_train_steps": 20, "save_state_on_train_end": True}, 1, 1, 1),
        # Billions are counted and not listed, or the page would run out of memory.
        ({"max_train_epochs": 10**18, "save_every_n_epochs": 1}, 10**18, 10**18, 0),
        ({"max_train_steps": 10**18, "save_every_n_steps": 1, "save_last_n_steps": 9}, 10**18 + 1, 11, 0),
    ],
)
def test_saves_are_counted_as_the_engine_makes_them(
    make: Make, values: dict[str, Any], saves: int, kept: int, states: int
) -> None:
    run = make(**values)
    amount = planning.plan(run)
    assert amount is not None
    found = disk.files(run, amount, planning.look_at_images(run))
    assert found is not None
    assert (found.saves, found.kept, found.states) == (saves, kept, states)
    base = layers_of(run.model.pretrained_model_name_or_path)
    assert base is not None
    assert found.parts["LoRA files"] == kept * lora_size(base, run.network).file_bytes("fp16")


@pytest.mark.parametrize(("free", "verdict"), [(500, "fits"), (12, "tight"), (0.1, "will not fit")])
def test_the_disk_is_held_against_what_is_written(
    make: Make, ws: Workspace, has: Callable[..., None], free: float, verdict: str
) -> None:
    has(disk=free)
    run = make(
        "sdxl", max_train_epochs=10, save_every_n_epochs=1, save_state=True, cache_latents_to_disk=True
    )
    found = line(planning.estimate(run, "diffusers", ws), "disk")
    assert found.verdict == verdict
    assert {"LoRA files", "States", "Prepared pictures", "Logs"} <= found.parts.keys()


@pytest.mark.parametrize("gpu", [15, 11, 9, 7])
def test_changes_make_a_run_fit_a_smaller_card(
    make: Make, ws: Workspace, has: Callable[..., None], gpu: int
) -> None:
    has(gpu=gpu)
    run = make("sdxl", 1024, batch_size=4, mixed_precision="no")
    assert planning.estimate(run, "diffusers", ws).too_much
    changes = planning.make_it_fit(run, "diffusers", ws)
    assert changes
    assert all(change.why.endswith(".") and change.before != change.after for change in changes)
    fitted = with_values(run, {change.key: change.after for change in changes})
    assert [one.kind for one in planning.estimate(fitted, "diffusers", ws).too_much] == []
    product = fitted.dataset.datasets[0].batch_size * fitted.batch.gradient_accumulation_steps
    assert product == 4
    assert planning.make_it_fit(fitted, "diffusers", ws) == []


def test_the_least_harmful_change_is_enough_where_it_is(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    run = make("sdxl", 1024, mixed_precision="bf16", gradient_checkpointing=True)
    has(gpu=9)
    assert [change.key for change in planning.make_it_fit(run, "diffusers", ws)] == [
        "cache_text_encoder_outputs"
    ]
    shuffled = with_values(run, {"shuffle_caption": True})
    assert "cache_text_encoder_outputs" not in {
        change.key for change in planning.make_it_fit(shuffled, "diffusers", ws)
    }


def test_a_change_that_a_later_one_makes_superfluous_is_left_out(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    run = make("sdxl", 1024, mixed_precision="bf16")
    has(gpu=13)
    assert [change.key for change in planning.make_it_fit(run, "diffusers", ws)] == ["gradient_checkpointing"]


def test_an_older_card_is_offered_the_half_precision_that_it_has(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    run = make("sdxl", 1024, cache_text_encoder_outputs=True, gradient_checkpointing=True, vae_batch_size=1)
    for bf16, half in ((True, "bf16"), (False, "fp16")):
        has(gpu=9, bf16=bf16)
        (change,) = planning.make_it_fit(run, "diffusers", ws)
        assert (change.key, change.before, change.after) == ("mixed_precision", "no", half)


MANY_FILES = {"max_train_epochs": 40, "save_every_n_epochs": 1, "save_state": True, "network_dim": 64}


@pytest.mark.parametrize(
    ("values", "share", "keys"),
    [
        ({"cache_latents": True, "cache_latents_to_disk": True}, 0.9999, ["cache_latents_to_disk"]),
        ({**MANY_FILES, "save_state": False, "save_precision": "float"}, 0.6, ["save_precision"]),
        (
            {**MANY_FILES, "save_every_n_epochs": None, "save_every_n_steps": 1},
            0.5,
            ["save_last_n_steps_state"],
        ),
        (MANY_FILES, 0.5, ["save_last_n_epochs_state"]),
        (MANY_FILES, 0.1, ["save_last_n_epochs_state", "save_last_n_epochs"]),
        (MANY_FILES, 0.02, ["save_last_n_epochs", "save_state"]),
    ],
)
def test_a_disk_that_is_too_small_is_helped_by_keeping_less_the_least_harmful_first(
    make: Make, ws: Workspace, has: Callable[..., None], values: dict[str, Any], share: float, keys: list[str]
) -> None:
    run = make("sd1", **values)
    has()
    whole = line(planning.estimate(run, "diffusers", ws), "disk").needed
    assert whole is not None
    has(disk=whole * share / GIB)
    found = planning.fitting(run, "diffusers", ws)
    assert found.fits, found
    assert [change.key for change in found.changes] == keys
    fitted = with_values(run, {change.key: change.after for change in found.changes})
    assert planning.make_it_fit(fitted, "diffusers", ws) == []


def test_a_disk_that_is_full_of_other_things_needs_room_from_the_user(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(disk=0)
    found = planning.fitting(make("sd1", **MANY_FILES), "diffusers", ws)
    assert not found.fits
    assert "Remove files" in found.sentence


def test_changes_for_sd_scripts_are_those_that_act_there_and_that_it_takes(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=9)
    run = make("sdxl", 1024, mixed_precision="bf16", gradient_checkpointing=True)
    assert planning.fitting(run, SD_SCRIPTS, ws).changes == planning.fitting(run, "diffusers", ws).changes
    shuffled = with_values(run, {"shuffle_caption": True, "batch_size": 4})
    found = planning.fitting(shuffled, SD_SCRIPTS, ws)
    fitted = with_values(shuffled, {change.key: change.after for change in found.changes})
    assert found.fits
    assert "cache_text_encoder_outputs" not in {change.key for change in found.changes}
    assert [p.what for p in sd_scripts_problems(fitted, "sdxl") if p.severity == "error"] == []
    # Its script for SD 1.x reads captions at each step, whatever the switch says.
    has(gpu=2.8)
    small = make("sd1", 512, mixed_precision="bf16", gradient_checkpointing=True, vae_batch_size=1)
    kept = {change.key for change in planning.fitting(small, SD_SCRIPTS, ws).changes}
    assert "cache_text_encoder_outputs" not in kept
    assert "cache_text_encoder_outputs" in {c.key for c in planning.fitting(small, "diffusers", ws).changes}


def test_what_nobody_counted_is_never_said_to_fit(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=80)
    unknown = with_values(make("sdxl", 1024), {"pretrained_model_name_or_path": Path("/nowhere/flux")})
    for engine in ("diffusers", SD_SCRIPTS):
        found = planning.fitting(unknown, engine, ws)
        assert (found.changes, found.fits) == ((), False)
        assert "nothing can be counted" in found.sentence


def test_a_count_for_another_engine_says_whose_it_is_and_offers_no_try_that_cannot_be(
    make: Make, ws: Workspace, has: Callable[..., None]
) -> None:
    has(gpu=24)
    ours, theirs = (planning.estimate(make("sdxl", 1024), engine, ws) for engine in ("diffusers", SD_SCRIPTS))
    assert line(ours, "gpu").sentence.endswith("Try two steps to measure it.")
    assert line(theirs, "gpu").sentence.endswith("built-in trainer, and sd-scripts may need another amount.")
    assert "Try two steps" not in line(theirs, "time").sentence


def test_it_says_so_when_nothing_helps(make: Make, ws: Workspace, has: Callable[..., None]) -> None:
    has(gpu=1)
    found = planning.fitting(make("sdxl", 1024), "diffusers", ws)
    assert (found.changes, found.fits) == ((), False)
    assert "No change" in found.sentence
    has(gpu=80)
    assert planning.fitting(make("sdxl", 1024), "diffusers", ws).fits


def test_what_is_free_comes_from_the_driver_and_is_asked_for_once_in_a_while(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cards() -> tuple[machine.Gpu, ...]:
        asked.append(1)
        return (machine.Gpu(name="a card", driver="1", memory_mib=8192, memory_used_mib=1024),)

    monkeypatch.setattr(free_now.machine, "cards", cards)
    monkeypatch.setattr(free_now, "_cards", (float("-inf"), ()))
    facts = {"device": "cuda", "device_name": "a card", "bf16": True, "memory_mib": 8192}
    record = {"format": 1, "torch_version": machine._installed("torch"), "torch": facts}
    write_json(ws.root / "machine.json", record)
    found = [free_now.free(ws) for _ in range(3)][-1]
    assert (found.device, found.gpu, found.gpu_total) == ("cuda", 7 * GIB, 8 * GIB)
    assert len(asked) == 1
    assert found.ram > 0
    assert found.disk > 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (75, "75 seconds"),
        (120, "2 minutes"),
        (7_300, "2 hours"),
        (11_900, "3 hours 20 minutes"),
        (200_000, "2 days 8 hours"),
    ],
)
def test_a_duration_is_read_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_size_is_read_as_people_say_it() -> None:
    assert [size(n) for n in (1, 850 * 2**20, int(6.4 * GIB), 120 * GIB)] == [
        "1 MiB",
        "850 MiB",
        "6.4 GiB",
        "120 GiB",
    ]
