"""Recipes and runs as files: nothing is lost on the way out and back, and plain sd-scripts reads them."""

import json
import os
import random
import subprocess
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from PIL import Image

from lora_core import jobs, runs
from lora_core.jobs.kinds import Task
from lora_core.reporting import Ended, NullReporter, Request
from lora_core.runs import command_line, export_recipe, export_run_zip, recipe_of, work
from lora_core.settings import (
    SD_SCRIPTS,
    RunConfig,
    Setting,
    catalogue,
    checked,
    known,
    loads_run,
    parse,
    run_files,
    shown_settings,
    with_values,
)
from lora_core.settings.imports import combined, read_recipe
from lora_core.settings.presets import read_preset
from lora_core.workspace import Workspace

CONFIG = """
pretrained_model_name_or_path = 'C:\\models\\my base.safetensors'
vae = "/somewhere/vae.safetensors"
output_name = "zog"
max_train_steps = 10
sample_prompts = ["a cat", "a dog --w 64"]
network_args = ["conv_dim=4", "unit=2"]
optimizer_args = ["weight_decay=0.1", "d_coef=2"]
fused_backward_pass = true
huggingface_token = "hf_abcdefghijklmnopqrstuvwxyz"
"""


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    folders = []
    for name in ("cats", "other: cats"):
        folder = tmp_path / name / "cats"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / "one.png")
        (folder / "one.txt").write_text("a cat", "utf-8")
        Image.new("RGB", (64, 64)).save(folder / "日本 'x'.PNG")
        (folder / "one.npz").write_bytes(b"a cache")
        folders.append(f"[[datasets.subsets]]\nimage_dir = '{folder.as_posix()}'\n")
    return loads_run(CONFIG, "[[datasets]]\nresolution = 64\n" + "".join(folders))


def test_an_exported_run_that_is_read_in_a_clean_folder_goes_out_again_byte_by_byte(
    run: RunConfig, tmp_path: Path
) -> None:
    values = {"network_dim": 12, "learning_rate": 0.00031, "unet_lr": 2.5e-4, "noise_offset": 0.0357}
    changed = with_values(run, {**values, "lr_warmup_steps": 0.07, "seed": 987654321, "min_snr_gamma": 4.25})
    first = export_run_zip(changed, tmp_path / "first.zip").path
    clean = tmp_path / "elsewhere" / "clean"
    with zipfile.ZipFile(first) as archive:
        archive.extractall(clean)
        texts = {name: archive.read(name) for name in archive.namelist() if name.endswith(".toml")}
    again = loads_run(texts["config.toml"].decode(), texts["dataset.toml"].decode(), clean)
    second = export_run_zip(again, tmp_path / "second.zip").path
    with zipfile.ZipFile(second) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name.endswith(".toml")}
    assert found == texts
    assert str(tmp_path).encode() not in b"".join(texts.values())


def test_a_zip_is_written_as_a_job_and_is_the_same(run: RunConfig, tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path / "workspace")
    run = with_values(run, {"sample_prompts": None})  # they would come from the job's own file
    job = jobs.jobs(ws, kind=runs.EXPORT, limit=1)
    assert job == []
    made = jobs.create(
        ws, runs.EXPORT, "zog", {"family": "sd15", "images": True}, files=run_files(run), start=False
    )
    path = work.export(Task(workspace=ws, job=made, reporter=NullReporter(), resume_from=None))
    assert path == ws.root / "exports" / "zog.zip"
    assert path.read_bytes() == export_run_zip(run, tmp_path / "direct.zip").path.read_bytes()


def test_a_zip_that_is_stopped_leaves_the_older_one(run: RunConfig, tmp_path: Path) -> None:
    class Stops(NullReporter):
        def request(self) -> Request:
            return "stop"

    ws = Workspace.open(tmp_path / "workspace")
    older = ws.root / "exports" / "zog.zip"
    older.parent.mkdir()
    older.write_bytes(b"older")
    made = jobs.create(ws, runs.EXPORT, "zog", files=run_files(run), start=False)
    with pytest.raises(Ended):
        work.export(Task(workspace=ws, job=made, reporter=Stops(), resume_from=None))
    assert [(path.name, path.read_bytes()) for path in older.parent.iterdir()] == [("zog.zip", b"older")]


def some_value(s: Setting, chance: random.Random) -> Any:
    """A value that the setting takes, in the type of its field."""
    texts = ["a", "C:\\new\\users\\x", "日本 ж", 'say "x"', "it's", "a = [b] # c", "\\u0041", " ", ","]
    kinds: dict[str, list[Any]] = {
        "flag": [True, False],
        "whole": [1, 2, 5, 64, 4096, 0],
        "number": [0.0, 1e-7, 0.1, 0.25, 1.0, 3, 0.30000000000000004],
        "steps_or_share": [0, 10, 0.05, 1.0],
        "text": texts,
        "choice": list(s.choices),
        "path": [Path("/a/b c"), Path("D:\\x\\new.safetensors")],
        "pair": [(0.9, 0.99), (0.0, 0.5)],
        "size": [(512, 512), (64, 768)],
        "numbers": [(1e-5,), (1e-5, 2e-5)],
        "paths": [(Path("/a"), Path("/b"))],
        "prompts": [("a cat --w 64", "a dog")],
    }
    fitting = [value for value in kinds[s.kind] if checked(s, value).problem is None]
    fitting += [None] if s.optional else []
    return checked(s, chance.choice(fitting)).value if fitting else s.default


def acting(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without those whose owner has another value: they are not written."""

    def of(key: str) -> Any:
        return values.get(key, next(s.default for s in catalogue() if s.key == key))

    return {s.key: values[s.key] for s in shown_settings(of, SD_SCRIPTS, None) if s.key in values}


@pytest.mark.parametrize("seed", range(40))
def test_a_recipe_survives_the_way_out_and_back(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311  no secret, and the same each time
    recipe = [s for s in catalogue() if s.part == "recipe"]
    values = {s.key: some_value(s, chance) for s in chance.sample(recipe, chance.randint(1, len(recipe)))}
    text = export_recipe(values, title='a "title" \\n', other={"fused_backward_pass": True})
    found = read_recipe("recipe.toml", text.encode())
    starts = {s.key: s.default for s in recipe}
    assert {**starts, **found.values} == {**starts, **values}
    assert found.other == {"fused_backward_pass": True}
    assert found.not_understood == ()
    (tmp_path / "recipe.toml").write_text(text, "utf-8")
    assert read_preset(tmp_path / "recipe.toml").title == 'a "title" \\n'
    assert export_recipe({**found.values}, title='a "title" \\n', other=found.other) == text


@pytest.mark.parametrize("seed", range(20))
def test_the_files_of_a_run_are_imported_without_a_loss(seed: int, run: RunConfig) -> None:
    chance = random.Random(seed)  # noqa: S311  as above
    recipe = [s for s in catalogue() if s.part == "recipe" and s.place in {"argument", "dataset"}]
    values = acting({s.key: some_value(s, chance) for s in recipe})
    blank = with_values(run, {s.key: s.default for s in catalogue() if s.part == "recipe"})
    changed = with_values(blank, values)
    files = run_files(changed)
    found = combined(*(read_recipe(name, files[name].encode()) for name in ("config.toml", "dataset.toml")))
    again = with_values(blank, found.values)
    written = {s.key for s in catalogue() if s.part == "recipe"}
    before, after = recipe_of(changed), recipe_of(again)
    assert {k: after[k] for k in written} == {k: before[k] for k in written}


def test_an_unknown_key_of_a_hand_written_file_is_kept_and_shown() -> None:
    found = read_recipe("config.toml", CONFIG.encode())
    assert found.other["fused_backward_pass"] is True
    assert "unit=2" in found.other["network_args"]
    assert "network_args.unit" in {line.name for line in found.taken}
    assert "fused_backward_pass" in {line.name for line in found.ignored}
    text = export_recipe(found.values, other=found.other)
    assert read_recipe("recipe.toml", text.encode()).other == found.other


def unzipped(made: runs.Exported, folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(folder)
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_zip_holds_a_whole_run_and_no_path_of_this_computer(run: RunConfig, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = export_run_zip(
        run, tmp_path / "out" / "zog.zip", family="sdxl", told=lambda *step: told.append(step)
    )
    files = unzipped(made, tmp_path / "elsewhere")
    assert set(files) == {
        "README.txt", "config.toml", "dataset.toml", "sample_prompts.txt",
        *(f"images/{name}/one.{suffix}" for name in ("cats", "cats 2") for suffix in ("png", "txt")),
        *(f"images/{name}/日本 'x'.png" for name in ("cats", "cats 2")),
    }  # fmt: skip
    assert told[-1] == (made.files, made.files) == (10, 10)
    text = b"".join(files[name] for name in files if name.endswith((".toml", "README.txt"))).decode()
    for hidden in (str(tmp_path), "C:\\", "/somewhere", "hf_abc"):
        assert hidden not in text
    moved = loads_run(files["config.toml"].decode(), files["dataset.toml"].decode(), tmp_path / "elsewhere")
    assert recipe_of(moved) == recipe_of(run)
    assert all(subset.image_dir.is_dir() for dataset in moved.dataset.datasets for subset in dataset.subsets)
    assert "models/my base.safetensors" in text
    assert "sdxl_train_network.py" in text
    assert not any(PureWindowsPath(name).is_absolute() or ".." in name for name in files)


@pytest.mark.parametrize("family", known.SCRIPTS)
def test_a_zip_for_each_family_holds_only_what_its_script_takes_and_no_path(
    family: str, run: RunConfig, tmp_path: Path
) -> None:
    parts = [s for s in catalogue() if s.concern == "model" and s.kind == "path" and family in s.families]
    whole = with_values(run, {s.key: tmp_path / "mine" / f"{s.key}.safetensors" for s in parts})
    made = export_run_zip(whole, tmp_path / "zog.zip", family=family, images=False)
    files = unzipped(made, tmp_path / "elsewhere")
    config = parse(files["config.toml"].decode(), "config.toml")
    taken = known.by_script()[known.SCRIPTS[family]]
    assert config.keys() & known.tables()["arguments"].keys() <= taken.keys()
    assert {config[s.key] for s in parts} == {f"models/{s.key}.safetensors" for s in parts}
    readme = files["README.txt"].decode()
    assert f"sd-scripts/{known.SCRIPTS[family]}.py" in readme
    assert str(tmp_path) not in b"".join(files.values()).decode()
    assert all(f"{s.key}: put your own copy at models/" in readme for s in parts)


def test_a_zip_without_images_says_where_they_go(run: RunConfig, tmp_path: Path) -> None:
    made = export_run_zip(run, tmp_path / "zog.zip", images=False)
    assert made.files == 4
    assert any("images are not in the zip" in note for note in made.notes)
    assert list(tmp_path.glob(".*")) == []


def test_the_same_run_makes_the_same_zip(run: RunConfig, tmp_path: Path) -> None:
    first = export_run_zip(run, tmp_path / "a.zip").path.read_bytes()
    assert export_run_zip(run, tmp_path / "b.zip").path.read_bytes() == first


def test_the_command_is_quoted_for_both_shells(run: RunConfig) -> None:
    odd = with_values(run, {"output_name": "it's $(x) `y` \u2019z", "mixed_precision": "bf16"})
    plain = command_line(odd, family="sdxl")
    assert plain == (
        "accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 "
        "sd-scripts/sdxl_train_network.py --config_file config.toml --output_dir output"
    )
    long = command_line(odd, config=None)
    assert "--output_name 'it'\"'\"'s $(x) `y` \u2019z'" in long
    assert "--network_train_unet_only" in long
    assert "false" not in long.lower().split()
    shell = command_line(odd, terminal="powershell", config=None)
    assert "--output_name 'it''s $(x) `y` \u2019\u2019z'" in shell
    assert command_line(odd, "diffusers") == "python -m lora_core train config.toml --engine diffusers"


READ_WITH_SD_SCRIPTS = """
import json, sys
import torch
# None of the compiled parts of torchvision is used, so one that was built for another torch will do.
real = torch.library.register_fake
torch.library.register_fake = lambda op, *a, **k: (
    (lambda f: f) if str(op).startswith("torchvision::") else real(op, *a, **k)
)
sys.path.insert(0, sys.argv.pop(1))
sys.argv += ["--config_file", "config.toml"]
import train_network
from pathlib import Path
from library import config_util, train_util
parser = train_network.setup_parser()
args = train_util.read_config_from_file(parser.parse_args(), parser)
train_util.prepare_dataset_args(args, True)
user = config_util.load_user_config(Path(args.dataset_config))
sanitizer = config_util.ConfigSanitizer(True, True, args.masked_loss, True)
blueprint = config_util.BlueprintGenerator(sanitizer).generate(user, args)
group = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)[0]
known = {action.dest for action in parser._actions}
found = {key: value for key, value in vars(args).items() if isinstance(value, (str, int, float, list))}
unknown = sorted(set(vars(args)) - known)
print(json.dumps({"args": found, "unknown": unknown, "images": group.num_train_images}))
"""


@pytest.mark.sd_scripts
@pytest.mark.skipif(
    not os.environ.get("LORA_SD_SCRIPTS_PYTHON"),
    reason="set LORA_SD_SCRIPTS_PYTHON to a Python that has the packages of sd-scripts",
)
def test_plain_sd_scripts_reads_an_exported_run(run: RunConfig, tmp_path: Path) -> None:
    run = with_values(
        run,
        {
            "num_repeats": 3,
            "min_bucket_reso": 64,
            "max_token_length": 225,
            "min_snr_gamma": 5.0,
            "betas": (0.9, 0.99),
        },
    )
    unzipped(export_run_zip(run, tmp_path / "zog.zip"), tmp_path / "elsewhere")
    command = [
        os.environ["LORA_SD_SCRIPTS_PYTHON"],
        "-c",
        READ_WITH_SD_SCRIPTS,
        os.environ["LORA_SD_SCRIPTS"],
    ]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unknown"] == []
    assert found["images"] == 2 * 2 * 3
    arguments = found["args"]
    assert (arguments["max_token_length"], arguments["min_snr_gamma"]) == (225, 5.0)
    assert (arguments["output_name"], arguments["output_dir"]) == ("zog", "output")
    assert arguments["sample_prompts"] == "sample_prompts.txt"
    assert "betas=(0.9, 0.99)" in arguments["optimizer_args"]
    assert arguments["pretrained_model_name_or_path"] == "models/my base.safetensors"
