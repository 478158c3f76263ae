"""Recipes put together: each combination can start, later layers win, and each value says why."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import textstat
from PIL import Image
from small_bases import sd1_folder, sdxl_folder

from lora_core.engines.diffusers.prompts import read_prompts
from lora_core.errors import Problem, SettingsError
from lora_core.planning import check, look_at_images
from lora_core.planning.images import RunImages
from lora_core.runs import command_line
from lora_core.settings import (
    BUILT_IN,
    SD_SCRIPTS,
    DatasetFile,
    DatasetSettings,
    MetadataSettings,
    ModelSettings,
    RunConfig,
    SamplingSettings,
    SubsetSettings,
    checked,
    known,
    no_effect,
    setting,
    value_in,
)
from lora_core.settings.conflicts import family_in, sd_scripts_problems
from lora_core.settings.presets import (
    BASES,
    ENGINE_RULES,
    EVIDENCE,
    GOALS,
    PRESETS,
    all_ids,
    composed,
    composed_by_id,
    default_engine,
    machines,
    memory_tier,
    memory_tiers,
    prompts_for,
    read_preset,
    repeats_for,
)
from lora_core.settings.presets.docs import FOLDERS, layer_files, lines_of

IMAGES: Final = 12
MACHINES: Final[Mapping[str, dict[str, Any] | None]] = {
    "not looked at": None,
    "processor": {"device": "cpu", "bf16": False},
    "Apple": {"device": "mps", "bf16": True},
    "old card": {"device": "cuda", "bf16": False, "memory_mib": 8192},
    "new card": {"device": "cuda", "bf16": True, "memory_mib": 24564},
}
FILES: Final = [path for folder in FOLDERS for path in layer_files(folder)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RunConfig]:
    """A run of each family with 12 pictures, their captions and a trigger word."""
    folder = tmp_path_factory.mktemp("runs")
    images = folder / "images"
    images.mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (1024, 1024)).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text("zog, red", "utf-8")
    dataset = DatasetFile(datasets=(DatasetSettings(subsets=(SubsetSettings(image_dir=images),)),))
    bases = {"sd15": sd1_folder(folder / "sd15"), "sdxl": sdxl_folder(folder / "sdxl")}
    bases |= {base.family: folder / base.id for base in BASES.values() if not base.here}
    parts = {base.family: {key: folder / key for key in base.parts} for base in BASES.values()}
    return {
        family: RunConfig(
            model=ModelSettings(pretrained_model_name_or_path=path, **parts[family]),  # type: ignore[arg-type]  # by key
            metadata=MetadataSettings(metadata_trigger_phrase="zog"),
            dataset=dataset,
        )
        for family, path in bases.items()
    }


def run_for(runs: Mapping[str, RunConfig], preset: str, **choices: Any) -> RunConfig:
    found = composed_by_id(preset, **choices)
    prompts = prompts_for(found.goal, "zog", found.base)
    run = runs[BASES[found.base].family].model_copy(
        update={"sampling": SamplingSettings(sample_prompts=prompts)}
    )
    return found.applied(run)


@pytest.fixture(scope="module")
def looked_at(runs: Mapping[str, RunConfig]) -> RunImages:
    """One look at the pictures for all tests; the folder is the same for all runs."""
    return look_at_images(runs["sd15"])


def problems(run: RunConfig, looked_at: RunImages) -> list[Problem]:
    subset = run.dataset.datasets[0].subsets[0]
    images = RunImages(tuple(replace(found, subset=subset) for found in looked_at.subsets))
    return check(run, BUILT_IN, images=images)


HERE: Final = [preset for preset in all_ids() if BASES[preset.partition(".")[0]].here]
ELSEWHERE: Final = [preset for preset in all_ids() if preset not in HERE]
"""For sd-scripts alone."""


@pytest.mark.parametrize("preset", ELSEWHERE)
@pytest.mark.parametrize("captions", ["tags", "sentences"])
def test_each_recipe_for_sd_scripts_passes_its_checks_without_a_word(
    preset: str, captions: Any, runs: Mapping[str, RunConfig], looked_at: RunImages
) -> None:
    family = BASES[preset.partition(".")[0]].family
    # Product reference, section 13: the two limits of buckets are sent, though nothing is enlarged.
    limits = {"min_bucket_reso", "max_bucket_reso"}
    for memory in (None, *memory_tiers()):
        for facts in MACHINES.values():
            run = run_for(runs, preset, memory_gb=memory, captions=captions, facts=facts, images=IMAGES)
            subset = run.dataset.datasets[0].subsets[0]
            images = RunImages(tuple(replace(found, subset=subset) for found in looked_at.subsets))
            found = check(run, SD_SCRIPTS, images=images, family=family)
            assert {problem.setting for problem in found} <= limits, f"{memory} GB: {found}"
            assert not [problem for problem in found if problem.severity == "error"]
            idle = no_effect(value_in(run), SD_SCRIPTS, family)
            choices = {"memory_gb": memory, "captions": captions, "facts": facts, "images": IMAGES}
            acting = {key for key, value in composed_by_id(preset, **choices).values.items() if value}
            assert acting & idle.keys() <= limits


@pytest.mark.parametrize("preset", ELSEWHERE)
def test_each_recipe_for_sd_scripts_is_written_for_its_script(
    preset: str, runs: Mapping[str, RunConfig]
) -> None:
    run = run_for(runs, preset, memory_gb=12)
    family = BASES[preset.partition(".")[0]].family
    assert family_in(run) == family  # its files tell it, so that command and zip take the right script
    assert f"/{known.SCRIPTS[family]}.py" in command_line(run)


@pytest.mark.parametrize("preset", HERE)
def test_each_recipe_starts_without_a_word_on_each_card_and_machine(
    preset: str, runs: Mapping[str, RunConfig], looked_at: RunImages
) -> None:
    for memory in (None, *memory_tiers()):
        for name, facts in MACHINES.items():
            run = run_for(runs, preset, memory_gb=memory, facts=facts, images=IMAGES)
            found = problems(run, looked_at)
            if preset.startswith("noobai-vpred"):  # the stand-in model does not say that it predicts v
                assert [problem.setting for problem in found] == ["v_parameterization"]
                found = []
            assert found == [], f"{memory} GB, {name}: {found}"


@pytest.mark.parametrize("preset", HERE)
@pytest.mark.parametrize("captions", ["tags", "sentences"])
def test_each_recipe_starts_with_other_choices(
    preset: str, captions: Any, runs: Mapping[str, RunConfig], looked_at: RunImages
) -> None:
    for memory, time in ((None, "short"), (8, "long")):
        run = run_for(
            runs, preset, memory_gb=memory, captions=captions, time=time, images=3000, hold_back=True
        )
        found = [problem for problem in problems(run, looked_at) if problem.severity == "error"]
        assert found == [], f"{memory} GB, {time}: {found}"


@pytest.mark.parametrize("preset", all_ids())
def test_each_value_fits_its_setting_and_says_who_set_it_and_why(preset: str) -> None:
    found = composed_by_id(preset, memory_gb=8, images=3000, hold_back=True, facts={"device": "cpu"})
    layers = {layer.id: layer for layer in found.layers}
    assert found.values.keys() == found.why.keys() == found.set_by.keys()
    for key, value in found.values.items():
        assert setting(key).part == "recipe"
        assert checked(setting(key), value).problem is None
        assert checked(setting(key), value).value == value
        assert found.why[key].endswith("."), f"{key}: {found.why[key]!r}"
        assert layers[found.set_by[key]].values[key] == value


@pytest.mark.parametrize("preset", all_ids())
def test_each_recipe_has_no_conflict_in_sd_scripts_either(preset: str, runs: Mapping[str, RunConfig]) -> None:
    for memory in (None, *memory_tiers()):
        for captions in ("tags", "sentences"):
            run = run_for(runs, preset, memory_gb=memory, captions=captions, images=IMAGES)
            family = BASES[preset.partition(".")[0]].family
            assert sd_scripts_problems(run, family) == [], f"{memory} GB, {captions}"


def test_later_layers_win() -> None:
    plain = composed("sdxl", "character")
    small = composed("sdxl", "character", memory_gb=8)
    assert plain.set_by["network_train_unet_only"] == "goal.character"
    assert not plain.values["network_train_unet_only"]
    assert small.set_by["network_train_unet_only"] == "memory.08"
    assert small.values["network_train_unet_only"]
    assert small.values["text_encoder_lr"] is None
    assert small.values["learning_rate"] == plain.values["learning_rate"]
    assert [layer.id for layer in small.layers][:5] == [
        "base.common",
        "base.sdxl",
        "captions.sentences",
        "goal.character",
        "memory.08",
    ]


def test_memory_changes_how_a_run_fits_and_not_what_it_learns_from() -> None:
    # Product reference, section 11: when the overlay changes the batch, exposures stay and steps change.
    for preset in all_ids():
        for memory in memory_tiers():
            changed = composed_by_id(preset, memory_gb=memory)
            plain = composed_by_id(preset)
            same = ("learning_rate", "max_train_epochs", "resolution", "network_dim", "network_alpha", "seed")
            assert [changed.values[key] for key in same] == [plain.values[key] for key in same]


@pytest.mark.parametrize(
    ("gigabytes", "tier"),
    [
        (3, "06"),
        (5.8, "06"),
        (7.78, "08"),
        (10, "08"),
        (11.76, "12"),
        (14.6, "16"),
        (15.9, "16"),
        (21, "16"),
        (23.6, "24"),
        (47.4, "48"),
        (80, "48"),
    ],
)
def test_a_card_gets_the_layer_of_the_memory_that_it_is_sold_with(gigabytes: float, tier: str) -> None:
    assert memory_tier(gigabytes) == tier


def test_the_reference_batches_are_used() -> None:
    # Product reference, section 11, table of GPU memory.
    wanted = {
        "sd15": {6: 1, 8: 2, 12: 4, 16: 4, 24: 8, 48: 8},
        "sdxl": {6: 1, 8: 1, 12: 1, 16: 2, 24: 4, 48: 8},
    }
    for base, batches in wanted.items():
        found = {gb: composed(base, "style", memory_gb=gb).values["batch_size"] for gb in memory_tiers()}
        assert found == batches


def test_without_a_known_card_there_is_no_layer_for_memory() -> None:
    for facts in (None, {"device": "cpu", "memory_mib": 8192}, {"device": "cuda"}):
        assert not [layer for layer in composed("sdxl", "style", facts=facts).layers if "memory" in layer.id]
    facts = {"device": "cuda", "memory_mib": 12 * 1024, "bf16": True}
    assert "memory.12" in {layer.id for layer in composed("sdxl", "style", facts=facts).layers}


def test_an_8_bit_optimizer_is_replaced_in_sight_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"device": "cuda", "memory_mib": 8192, "bf16": True}
    monkeypatch.setattr(machines, "find_spec", {}.get)
    without = composed("sdxl", "style", facts=card)
    assert (without.values["optimizer_type"], without.set_by["optimizer_type"]) == ("AdamW", "machine")
    assert "bitsandbytes" in without.why["optimizer_type"]
    monkeypatch.setattr(machines, "find_spec", str)
    assert composed("sdxl", "style", facts=card).values["optimizer_type"] == "AdamW8bit"
    assert composed("sdxl", "style", facts={**card, "eight_bit": False}).values["optimizer_type"] == "AdamW"
    for facts in (None, {"device": "cpu"}, {"device": "mps"}):
        found = composed("sdxl", "style", memory_gb=8, facts=facts)
        assert found.values["optimizer_type"] == "AdamW"
        assert "NVIDIA" in found.why["optimizer_type"]


@pytest.mark.parametrize(
    ("facts", "precision", "eight"),
    [
        (None, "bf16", True),
        ({"device": "cuda", "bf16": True}, "bf16", True),
        ({"device": "cuda", "bf16": False}, "fp16", True),
        ({"device": "mps", "bf16": True}, "bf16", False),
        ({"device": "cpu", "bf16": True}, "no", False),
        ({"error": "torch did not start"}, "bf16", True),
    ],
)
def test_precision_is_one_that_the_machine_has(
    facts: dict[str, Any] | None, precision: str, eight: bool
) -> None:
    values = composed("sdxl", "style", memory_gb=6, facts=facts).values
    assert (values["mixed_precision"], values["fp8_base"]) == (precision, eight)


def test_few_and_many_images_and_time_change_the_epochs() -> None:
    epochs = {
        (images, time): composed("sdxl", "style", images=images, time=time).values["max_train_epochs"]
        for images, time in ((None, "usual"), (80, "usual"), (80, "short"), (80, "long"), (5000, "usual"))
    }
    assert list(epochs.values()) == [10, 10, 5, 15, 1]
    assert composed("sdxl", "style", images=80, time="short").set_by["max_train_epochs"] == "time.short"
    assert composed("sdxl", "style", images=5000).set_by["max_train_epochs"] == "size.images"
    assert "1 pass " not in composed("sdxl", "style", images=5000).why["max_train_epochs"]


def test_thousands_of_images_are_kept_ready_on_the_disk() -> None:
    assert "cache_latents_to_disk" not in composed("sdxl", "style", images=1999).values
    assert composed("sdxl", "style", images=2000).values["cache_latents_to_disk"]


def test_images_are_held_back_only_when_asked_for() -> None:
    assert "validation_split" not in composed("sdxl", "style", images=500).values
    assert composed("sdxl", "style", images=500, hold_back=True).values["validation_split"] == 0.1


@pytest.mark.parametrize(
    "preset", ["", "sdxl", "sdxl.", ".style", "pony.person", "flux1.style", "own.x", "a.b.c"]
)
def test_an_unknown_recipe_is_refused_in_words(preset: str) -> None:
    with pytest.raises(SettingsError, match="There is no recipe"):
        composed_by_id(preset)


def test_the_evidence_is_that_of_the_weakest_layer_and_only_our_own_run_is_measured() -> None:
    order = list(EVIDENCE)
    for preset in all_ids():
        found = composed_by_id(preset)
        assert order.index(found.evidence) == max(order.index(layer.evidence) for layer in found.layers)
        assert found.evidence_text == EVIDENCE[found.evidence]
    measured = {path.name for path in PRESETS.rglob("*.toml") if read_preset(path).evidence == "measured"}
    assert measured == {"demo.toml"}


def test_needs_name_the_base_model_the_images_the_captions_and_the_trigger_word() -> None:
    text = " ".join(composed("illustrious", "character").needs)
    for word in ("Illustrious", "20 to 40 images", "tags", "trigger word"):
        assert word in text
    assert "trigger word" not in " ".join(composed("sdxl", "style").needs)


# --- The files ---------------------------------------------------------------------------------------


def test_there_is_one_file_for_each_base_goal_and_tier_and_no_other() -> None:
    names = {folder: {path.stem for path in (PRESETS / folder).glob("*")} for folder in FOLDERS}
    assert names["base"] == {"common", *BASES}
    assert names["goal"] == set(GOALS)
    assert names["captions"] == {"tags", "sentences"}
    assert list(memory_tiers()) == [6, 8, 12, 16, 24, 48]
    assert {path.name for path in PRESETS.iterdir()} == {"demo.toml", *FOLDERS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_file_gives_a_reason_and_a_source_for_each_number(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("# "), "it opens with what it is for"
    assert len(text.splitlines()) <= 90
    for table, key, value, why, source in lines_of(path):
        assert why, f"{table}.{key} = {value} has no reason"
        assert source, f"{table}.{key} = {value} has no source"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_each_part_of_a_file_counts_for_some_base_model_and_each_reason_has_its_value(path: Path) -> None:
    read = {base: read_preset(path, base) for base in ("", *BASES)}
    used = {(key, str(value)) for found in read.values() for key, value in found.values.items()}
    for _, key, value, _, _ in lines_of(path):
        fitting = checked(setting(key), tomllib.loads(f"v = {value}")["v"]).value
        assert (key, str(fitting)) in used, f"{key} = {value} is in a table that no base model reads"
    if path.parent.name != "time":  # its reason belongs to the epochs that are worked out from it
        for base, found in read.items():
            assert found.why.keys() == found.values.keys(), base
    assert all(found.evidence in EVIDENCE for found in read.values())


@pytest.mark.parametrize("goal", GOALS)
def test_a_file_is_called_as_its_goal(goal: str) -> None:
    assert read_preset(PRESETS / "goal" / f"{goal}.toml").title == GOALS[goal].title


@pytest.mark.parametrize("base", BASES)
def test_a_file_is_called_as_its_base(base: str) -> None:
    assert read_preset(PRESETS / "base" / f"{base}.toml").title == BASES[base].title


def test_the_nearest_table_counts(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[recipe]\nseed = 1\nnetwork_dim = 1\nclip_skip = 2\n[family.sdxl]\nleft_empty = ["clip_skip"]\n'
        "[family.sdxl.recipe]\nseed = 2\nnetwork_dim = 2\n[base.pony.recipe]\nseed = 3\n",
        "utf-8",
    )
    found = {base: dict(read_preset(path, base).values) for base in ("sd15", "sdxl", "pony")}
    assert found["sd15"] == {"seed": 1, "network_dim": 1, "clip_skip": 2}
    assert found["sdxl"] == {"seed": 2, "network_dim": 2, "clip_skip": None}
    assert found["pony"] == {"seed": 3, "network_dim": 2, "clip_skip": None}


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        'left_empty = ["seed"]\n[recipe]\nnetwork_dim = "much"\noutput_name = "x"\nno_such = 1\n', "utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        read_preset(path)
    assert {problem.setting for problem in caught.value.problems} == {
        "seed",
        "network_dim",
        "output_name",
        "no_such",
    }


def test_words_for_users_are_plain() -> None:
    texts = [*EVIDENCE.values()]
    for goal in GOALS.values():
        texts += [goal.sentence, goal.trigger_note, goal.caption_policy, goal.advice]
    for base in BASES.values():
        texts += [
            base.sentence,
            base.caption_note,
            *(r.licence for r in (*base.recommended, *base.parts.values())),
        ]
    for path in FILES:
        texts += [why for _, _, _, why, _ in lines_of(path)]
    together = " ".join(texts)
    assert textstat.flesch_kincaid_grade(together) <= 8
    long = [s for text in texts for s in text.split(". ") if len(s.split()) > 22]
    assert long == []


# --- Prompts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger", ["zog", "", "  zog  person ", "--w 9", "# x", "zog --h 1 --n bad", "a\nb", "{}"]
)
def test_four_prompts_keep_the_size_of_the_base_and_one_is_without_the_trigger(
    trigger: str, runs: Mapping[str, RunConfig]
) -> None:
    for base, goal in (preset.split(".") for preset in all_ids()):
        prompts = (line.replace(" --g 3.5", "") for line in prompts_for(goal, trigger, base))  # FLUX.1's own
        sampling = SamplingSettings(sample_prompts=tuple(prompts))
        found = read_prompts(runs["sd15"].model_copy(update={"sampling": sampling}))
        size = BASES[base].resolution
        assert [(prompt.width, prompt.height, prompt.negative) for prompt in found] == [(size, size, "")] * 4
        assert len({prompt.text for prompt in found}) == 4
        assert all(prompt.text for prompt in found)
        assert base != "pony" or all(prompt.text.startswith("score_9, score_8_up") for prompt in found)
        if trigger == "zog":
            assert ["zog" in prompt.text for prompt in found] == [True, True, True, False]
        if not trigger:
            assert not any("{}" in prompt.text or prompt.text.startswith(",") for prompt in found)


def test_prompts_are_written_as_captions_are() -> None:
    assert "1girl" in prompts_for("character", "zog", "illustrious")[3]
    assert "1girl" not in prompts_for("character", "zog", "sdxl")[3]
    assert "1girl" in prompts_for("character", "zog", "sdxl", captions="tags")[3]


# --- The default engine ------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [base.id for base in BASES.values() if base.here])
@pytest.mark.parametrize("device", ["cpu", "mps", "cuda", None])
def test_the_built_in_engine_is_the_default_for_all_that_it_trains(base: str, device: str | None) -> None:
    facts = {"device": device} if device else None
    for installed in ((BUILT_IN,), (BUILT_IN, SD_SCRIPTS)):
        engine, reason = default_engine(base, facts, installed=installed)
        assert engine == BUILT_IN
        assert reason.endswith(".")


def test_a_family_that_only_sd_scripts_trains_goes_to_it_where_it_is_installed() -> None:
    assert default_engine("flux1", None, installed=(BUILT_IN, SD_SCRIPTS)).engine == SD_SCRIPTS
    assert "lacks this family" in default_engine("flux1", None).reason
    for base in (base for base in BASES.values() if not base.here):
        chosen = default_engine(base.id, None, installed=(BUILT_IN, SD_SCRIPTS))
        assert (chosen.engine, chosen.reason) == (SD_SCRIPTS, ENGINE_RULES[-1].reason)


@pytest.mark.parametrize(
    ("network", "algo", "engine"),
    [
        ("networks.lora", "", BUILT_IN),
        ("lycoris.kohya", "lokr", BUILT_IN),
        ("lycoris.kohya", "boft", SD_SCRIPTS),
        ("networks.oft", "", SD_SCRIPTS),
        ("networks.dylora", "", SD_SCRIPTS),
    ],
)
def test_a_network_that_only_sd_scripts_has_goes_to_it_where_it_is_installed(
    network: str, algo: str, engine: str
) -> None:
    for base in (base.id for base in BASES.values() if base.here):
        for facts in (None, {"device": "cpu"}, {"device": "cuda"}):
            both = default_engine(base, facts, installed=(BUILT_IN, SD_SCRIPTS), network=network, algo=algo)
            assert both.engine == engine
            assert ("kind of network" in both.reason) == (engine == SD_SCRIPTS)
            alone = default_engine(base, facts, network=network, algo=algo)
            assert alone.engine == BUILT_IN
            assert ("lacks this kind of network" in alone.reason) == (engine == SD_SCRIPTS)


def test_repeats_are_those_of_the_goal() -> None:
    assert repeats_for("character", 20) == 10
