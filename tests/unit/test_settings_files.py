"""The two files of a run: what is taken, what is refused and in which words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toml
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from lora_core.errors import Problem, SettingsError
from lora_core.settings import (
    BUILT_IN,
    SD_SCRIPTS,
    _toml,
    catalogue,
    dump_config,
    dump_dataset,
    known,
    load_run,
    loads_run,
    prompt_lines,
    read_run,
    run_files,
    unsupported,
)
from lora_core.settings._toml import write_value

MODEL = 'pretrained_model_name_or_path = "/models/base"\n'
IMAGES = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/images"\n'


def problems(config: str = MODEL, dataset: str = IMAGES) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        loads_run(config, dataset)
    return list(caught.value.problems)


def write(folder: Path, config: str = MODEL, dataset: str = IMAGES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(dataset, "utf-8")
    (folder / "config.toml").write_text(config, "utf-8")
    return folder / "config.toml"


HAND_WRITTEN = r"""
[model]
pretrained_model_name_or_path = "C:\\models\\new\\base"
[anything]
output_dir = "out"
output_name = "zog"
logging_dir = "logs"
log_with = "tensorboard"
console_log_simple = true
sdpa = true
max_data_loader_n_workers = 0
learning_rate = 2e-4
network_module = "networks.lora"
network_train_unet_only = true
network_args = ["conv_dim=8", "conv_alpha=4"]
optimizer_type = "adamw"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
lr_scheduler = "constant"
train_batch_size = 4
resolution = "512,768"
min_snr_gamma = 5
text_encoder_lr = [5e-5]
"""


def test_a_hand_written_file_of_sd_scripts_is_taken_as_it_is(tmp_path: Path) -> None:
    loaded = read_run(write(tmp_path, HAND_WRITTEN, "[general]\nshuffle_caption = true\n" + IMAGES))
    run = loaded.run
    assert str(run.model.pretrained_model_name_or_path) == r"C:\models\new\base"
    assert (run.network.conv_dim, run.network.conv_alpha) == (8, 4.0)
    assert (run.optimizer.weight_decay, run.optimizer.betas) == (0.1, (0.9, 0.99))
    (dataset,) = run.dataset.datasets
    assert (dataset.batch_size, dataset.resolution) == (4, (512, 768))
    assert dataset.subsets[0].shuffle_caption
    assert any("output_dir" in note for note in loaded.notes)
    assert run.network.text_encoder_lr == (5e-5,)
    assert run.loss.min_snr_gamma == 5
    assert unsupported(run, BUILT_IN) == []


def test_a_note_tells_which_absent_values_are_not_those_of_sd_scripts(tmp_path: Path) -> None:
    (note,) = [note for note in read_run(write(tmp_path)).notes if "learning_rate" in note]
    assert "learning_rate = 0.0001 (sd-scripts: 2e-06)" in note
    assert "max_grad_norm" not in note


def test_changes_count_in_place_of_the_files_and_may_fill_what_is_missing(tmp_path: Path) -> None:
    changes = {"pretrained_model_name_or_path": Path("/other"), "seed": 7, "eps": 1e-6, "num_repeats": 3}
    loaded = read_run(write(tmp_path, "seed = 1\n"), changes=changes)
    assert loaded.run.model.pretrained_model_name_or_path == Path("/other")
    assert (loaded.run.batch.seed, loaded.run.optimizer.eps) == (7, 1e-6)
    assert loaded.run.dataset.datasets[0].subsets[0].num_repeats == 3
    assert not any("seed = " in note for note in loaded.notes)


def test_a_key_that_only_sd_scripts_has_is_kept_and_named_for_the_built_in_engine() -> None:
    text = (
        MODEL
        + 'full_bf16 = true\noptimizer_args = ["d_coef=2"]\nnetwork_args = ["verbose=True"]\nv2 = true\n'
    )
    run = loads_run(text, IMAGES + 'custom_attributes = {a = "b"}\n')
    again = loads_run(dump_config(run), dump_dataset(run))
    assert again == run
    assert {problem.setting for problem in unsupported(again, BUILT_IN)} == {
        "full_bf16",
        "v2",
        "network_args: verbose",
        "custom_attributes",
    }
    assert unsupported(again, "sd-scripts") == []


def test_what_would_end_a_run_before_it_learns_and_keys_of_services_are_read_over(tmp_path: Path) -> None:
    config = MODEL + 'output_config = true\ndebug_dataset = true\nwandb_api_key = "secret"\n'
    loaded = read_run(write(tmp_path, config + 'train_data_dir = "/elsewhere"\n'))
    assert loaded.run.other == {}
    assert "secret" not in dump_config(loaded.run)
    for key in ("output_config", "debug_dataset", "wandb_api_key", "train_data_dir"):
        assert any(note.startswith(f"{key} is not used: ") for note in loaded.notes)


VALUES = {
    "str": "some text",
    "int": 3,
    "float": 0.125,
    "bool": True,
    "list": ["0.5", "1"],
    "table": {"a": "b"},
}
OURS = {s.key for s in catalogue()} | {s.argument for s in catalogue()}
LISTS = {"network_args", "optimizer_args", "lr_scheduler_args"}


@pytest.mark.parametrize("table", ["arguments", "dataset", "subset"])
def test_every_key_of_sd_scripts_is_kept_and_written_back_or_read_over_with_a_note(
    tmp_path: Path, table: known.Table
) -> None:
    for key, (kind, _) in known.tables()[table].items():
        if key in OURS | LISTS | set(known.APP_DECIDES):
            continue
        line = f"{key} = {write_value(VALUES[kind])}\n"
        dataset = {
            "dataset": IMAGES.replace("[[datasets]]\n", f"[[datasets]]\n{line}"),
            "subset": IMAGES + line,
        }
        config = MODEL + line if table == "arguments" else MODEL
        loaded = read_run(write(tmp_path, config, dataset.get(table, IMAGES)))
        written = dump_config(loaded.run) + dump_dataset(loaded.run)
        noted = any(note.startswith(f"{key} is not used") for note in loaded.notes)
        assert noted != (line in written), key
        assert loads_run(dump_config(loaded.run), dump_dataset(loaded.run)) == loaded.run


def test_a_key_of_sd_scripts_at_its_resting_value_is_no_hindrance() -> None:
    text = MODEL + 'v2 = false\nloss_type = "l2"\nprior_loss_weight = 1.0\nlr_scheduler_num_cycles = 1\n'
    assert unsupported(loads_run(text, IMAGES + "flip_aug = false\n"), BUILT_IN) == []


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("learning_rat", "learning_rate"),
        ("network-dim", "network_dim"),
        ("keep_only_last_n_epochs", "save_last_n_epochs"),
        ("max_train_epoch", "max_train_epochs"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str, near: str) -> None:
    run = loads_run(MODEL + f"{key} = 1\n", IMAGES)
    # sd-scripts trains all the same; the built-in engine does not start with what it does not know.
    for engine, severity in ((BUILT_IN, "error"), (SD_SCRIPTS, "advice")):
        (problem,) = unsupported(run, engine)
        assert (problem.setting, problem.severity) == (key, severity)
        assert near in problem.fix


@pytest.mark.parametrize(
    "line",
    [
        "my_key = 3",
        'my_text = "C:\\\\new # no remark"',
        "my_share = 1e-4",
        "my_list = [[1], [2]]",
        '"my key" = true',
        "[my.table]\nseed = 7",
        '[[my_tables]]\nx = 1\n[[my_tables]]\ny = "z"',
    ],
)
def test_a_key_that_nobody_knows_is_kept_and_written_back(line: str) -> None:
    run = loads_run(MODEL + line + "\n", IMAGES)
    assert run.batch.seed == 42, "what stands in a table inside a table is no setting"
    assert len(run.other) == 1
    assert loads_run(dump_config(run), dump_dataset(run)) == run
    assert len([p for p in unsupported(run, SD_SCRIPTS) if p.setting in run.other]) == 1


def test_a_key_that_nobody_knows_is_told_when_it_cannot_be_kept() -> None:
    assert [p.setting for p in problems(MODEL + "made = 2026-01-01\n")] == ["made"]


def test_a_secret_under_a_name_that_nobody_knows_is_not_kept(tmp_path: Path) -> None:
    loaded = read_run(write(tmp_path, MODEL + 'my_token = "hf_abcdefghijklmnopqrst"\n'))
    assert loaded.run.other == {}
    assert any(note.startswith("my_token is not used: ") for note in loaded.notes)


def test_a_key_in_the_wrong_place_is_told_where_it_belongs() -> None:
    found = problems(
        MODEL + "conv_dim = 4\nbatch_size = 2\n", IMAGES + "batch_size = 2\nlearning_rate = 1e-4\n"
    )
    assert [problem.setting for problem in found] == ["conv_dim", "batch_size", "batch_size", "learning_rate"]
    assert 'network_args = ["conv_dim=' in found[0].fix
    assert "[[datasets]]" in found[1].fix
    assert "[[datasets]]" in found[2].fix
    assert "config file" in found[3].fix


def test_every_problem_of_both_files_is_told_at_once() -> None:
    config = 'learning_rate = "1e-4"\nnetwork_dim = 16.0\nseed = -1\nconv_dim = 1\n'
    config += 'optimizer_args = ["lr", "eps=a=b"]\n'
    found = problems(config, "[[datasets]]\nresolution = 8\n[[datasets.subsets]]\nkeep_tokens = true\n")
    assert [problem.setting for problem in found] == [
        "learning_rate",
        "network_dim",
        "seed",
        "conv_dim",
        "optimizer_args",
        "optimizer_args",
        "pretrained_model_name_or_path",
        "resolution",
        "keep_tokens",
        "image_dir",
    ]


def test_no_message_carries_a_traceback_or_a_word_of_the_library() -> None:
    for problem in problems('learning_rate = "x"\nsave_every_n_epochs = 0\nbetas = 1\n', "x = 1\n"):
        assert not {"pydantic", "ValidationError", "Traceback", "invalid"} & set(problem.what.split())
        assert problem.what.endswith(".")
        assert problem.fix.endswith(".")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"pretrained_model_name_or_path = ",
        b"a = [[[[",
        b"a = {b = 1",
        b'a = "C:\\new\\x"',
        b"network_args = [1, 2.0]",
        b"[datasets]\n[datasets]",
        b"x" * 2_000_000,
        b"a = " + b"[" * 20_000,
        b"\x00",
        b"datasets = 3\ngeneral = 4",
        b"[[datasets]]\nsubsets = 3",
        b"network_args = 3\nlr_warmup_steps = true\n[a.b]\nc = 1",
        b"seed = 1979-05-27T07:32:00Z",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_broken_file_is_answered_in_plain_words_as_config_and_as_dataset(
    tmp_path: Path, data: bytes
) -> None:
    config = write(tmp_path)
    for name in ("config.toml", "dataset.toml"):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SettingsError) as caught:
            load_run(config)
        assert caught.value.problems
        (tmp_path / name).write_bytes(before)


def test_a_missing_file_and_a_folder_are_answered_in_plain_words(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path, Path("a\0b")):
        with pytest.raises(SettingsError):
            load_run(path)


def test_a_config_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(MODEL, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load_run(tmp_path / "config.toml")
    assert [problem.setting for problem in caught.value.problems] == ["dataset_config"]


def test_relative_paths_start_at_the_folder_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mine.toml").write_text(IMAGES.replace('"/images"', '"pictures"'), "utf-8")
    (tmp_path / "prompts.txt").write_text("# first\na cat  on a mat\n\nzog --d 1\n", "utf-8")
    text = MODEL.replace("/models/base", "base") + 'sample_prompts = "prompts.txt"\n'
    text += 'dataset_config = "sets/mine.toml"\n'
    (tmp_path / "config.toml").write_text(text, "utf-8")
    run = load_run(tmp_path / "config.toml")
    assert run.model.pretrained_model_name_or_path == tmp_path / "base"
    assert run.dataset.datasets[0].subsets[0].image_dir == tmp_path / "sets" / "pictures"
    assert prompt_lines(run) == ("a cat on a mat", "zog --d 1")


def test_the_name_of_a_model_on_a_hub_stays_a_name() -> None:
    run = loads_run(MODEL.replace("/models/base", "someone/some-model"), IMAGES)
    assert run.model.pretrained_model_name_or_path == Path("someone/some-model")


def test_the_files_of_a_run_are_complete_and_bring_their_prompts(tmp_path: Path) -> None:
    run = loads_run(MODEL + 'sample_prompts = ["a cat", "zog --d 1"]\n', IMAGES)
    for name, text in run_files(run).items():
        (tmp_path / name).write_text(text, "utf-8")
    again = load_run(tmp_path / "config.toml", tmp_path / "dataset.toml")
    assert again.sampling.sample_prompts == tmp_path / "sample_prompts.txt"
    assert prompt_lines(again) == prompt_lines(run)


def test_what_is_written_is_in_the_types_that_sd_scripts_demands() -> None:
    run = loads_run(MODEL + "network_alpha = 4\n", IMAGES)
    config, dataset = toml.loads(dump_config(run)), toml.loads(dump_dataset(run))
    assert config["resolution"] == "512,512"
    assert isinstance(config["network_alpha"], float)
    assert isinstance(dataset["datasets"][0]["validation_split"], float)
    assert isinstance(config["lr_warmup_steps"], int)
    assert "optimizer_args" not in config
    assert not any(key.startswith(("save_every", "save_last", "validate")) for key in config)


def test_beside_a_folder_of_masks_nothing_is_written_that_sd_scripts_does_not_know_there() -> None:
    run = loads_run(MODEL + "masked_loss = true\n", IMAGES + '\nconditioning_data_dir = "masks"\n')
    (subset,) = toml.loads(dump_dataset(run))["datasets"][0]["subsets"]
    assert Path(subset["conditioning_data_dir"]).name == "masks"
    assert not {"is_reg", "alpha_mask", "class_tokens"} & set(subset)
    assert loads_run(dump_config(run), dump_dataset(run)) == run


def test_arguments_of_an_optimizer_are_kept_whatever_their_shape() -> None:
    text = MODEL + 'optimizer_type = "Adafactor"\n'
    text += 'optimizer_args = ["eps=(1e-30,1e-3)", "weight_decay=0.04", "d_coef=2.0"]\n'
    run = loads_run(text, IMAGES)
    assert run.optimizer.weight_decay == 0.04
    assert run.optimizer.eps is None
    assert run.other["optimizer_args"] == ["eps=(1e-30,1e-3)", "d_coef=2.0"]
    assert unsupported(run, BUILT_IN) == []
    assert loads_run(dump_config(run), dump_dataset(run)) == run


def test_a_course_that_sd_scripts_lacks_is_named_for_it_and_not_for_the_built_in_engine() -> None:
    run = loads_run(MODEL + 'lr_scheduler = "rex"\n', IMAGES)
    assert unsupported(run, BUILT_IN) == []
    (problem,) = unsupported(run, SD_SCRIPTS)
    assert problem.setting == "lr_scheduler"
    assert "the built-in engine has it" in problem.what


def test_the_nearest_level_decides_as_in_sd_scripts() -> None:
    dataset = (
        "[general]\nkeep_tokens = 1\nbatch_size = 2\n[[datasets]]\nkeep_tokens = 2\n"
        '[[datasets.subsets]]\nimage_dir = "/a"\nkeep_tokens = 3\n[[datasets.subsets]]\nimage_dir = "/b"\n'
        '[[datasets]]\nbatch_size = 4\n[[datasets.subsets]]\nimage_dir = "/c"\n'
    )
    run = loads_run(MODEL + "keep_tokens = 9\ntrain_batch_size = 9\n", dataset)
    first, second = run.dataset.datasets
    assert [subset.keep_tokens for subset in (*first.subsets, *second.subsets)] == [3, 2, 1]
    assert (first.batch_size, second.batch_size) == (2, 4)


def test_an_expression_in_optimizer_args_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    found = problems(MODEL + f"optimizer_args = [\"eps=__import__('pathlib').Path('{trap}').touch()\"]\n")
    assert [problem.setting for problem in found] == ["eps"]
    assert not trap.exists()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(), TEXTS, st.just("1e-4"), st.just([]))
KEYS = st.one_of(
    st.sampled_from([s.key for s in catalogue()] + ["network_args", "optimizer_args", "datasets", "general"]),
    TEXTS,
)
TABLES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=6,
    ),
    max_size=8,
)


@given(TABLES, TABLES)
@budget(max_examples=50, deadline=None)
def test_any_table_is_either_a_run_or_a_settings_error(
    config: dict[str, Any], dataset: dict[str, Any]
) -> None:
    texts = []
    for table in (config, dataset):
        try:
            texts.append(toml.dumps(table))
        except (TypeError, ValueError, IndexError):  # nothing that a file could hold
            return
    try:
        loads_run(*texts)
    except SettingsError as error:
        listed = error.problems
        assert listed, "an error without a problem"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@budget(max_examples=150, deadline=None)
def test_any_text_is_either_a_run_or_a_settings_error(text: str) -> None:
    for config, dataset in ((text, IMAGES), (MODEL, text)):
        try:
            loads_run(config, dataset)
        except SettingsError as error:
            listed = error.problems
            assert listed, "an error without a problem"


@given(TEXTS)
@budget(max_examples=100, deadline=None)
def test_any_text_survives_being_written_and_read(text: str) -> None:
    run = loads_run(MODEL, IMAGES)
    run = run.model_copy(update={"metadata": run.metadata.model_copy(update={"training_comment": text})})
    assert loads_run(dump_config(run), dump_dataset(run)) == run


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
@budget(max_examples=60, deadline=None)
def test_any_number_survives_being_written_and_read_to_the_last_bit(number: float) -> None:
    run = loads_run(MODEL, IMAGES)
    run = run.model_copy(update={"optimizer": run.optimizer.model_copy(update={"learning_rate": number})})
    assert loads_run(dump_config(run), dump_dataset(run)).optimizer.learning_rate == number


def test_the_settings_package_loads_nothing_heavy() -> None:
    code = "import sys, lora_core.settings; print(*{'torch', 'streamlit', 'numpy', 'PIL'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("text", "says", "fix"),
    [
        ("a = 1\na = 2", "a name stands there for the second time", "Mend that line."),
        ("a = [[", "there is no value, or a text without quotes (at the end of the file)", "Mend that line."),
        ("a = many", "there is no value, or a text without quotes", "Mend that line."),
        ('a = "x\n', "a text has no closing quote", "Mend that line."),
        ("a 1", "there is no = behind a name", "Mend that line."),
        ("[x", "a bracket is not closed", "Mend that line."),
        (r'a = "C:\models"', "a text in double quotes has a single \\", "single quotes"),
    ],
)
def test_a_text_that_is_no_toml_is_told_in_plain_words(text: str, says: str, fix: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _toml.strictly(text, "config.toml")
    (problem,) = refused.value.problems
    assert says in problem.what
    assert fix in problem.fix
