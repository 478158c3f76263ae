"""The commands about recipes: what they print, and that they find runs, projects and files."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lora_core import cli, jobs, projects
from lora_core.settings import loads_run, run_files
from lora_core.workspace import Workspace

RECIPES = Path(__file__).parents[1] / "fixtures" / "recipes"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def run(ws: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setenv("LORA_WORKSPACE", str(ws.root))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["recipe", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def a_run(ws: Workspace, name: str, rank: int) -> jobs.Job:
    images = ws.datasets / name
    images.mkdir()
    Image.new("RGB", (64, 64)).save(images / "a.png")
    config = (
        f'pretrained_model_name_or_path = "/nowhere/base"\noutput_name = "{name}"\nnetwork_dim = {rank}\n'
    )
    dataset = f'[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{images.as_posix()}"\n'
    files = run_files(loads_run(config, dataset))
    return jobs.create(ws, "train", name, {"output_name": name}, engine="diffusers", start=False, files=files)


def test_an_import_tells_each_key_in_its_list(run: Run) -> None:
    code, out, _ = run("import", str(RECIPES / "kohya_ss.json"))
    assert code == 0
    assert "kohya_ss.json is kohya_ss GUI, for base models of the family sdxl." in out
    assert "epoch = 12 -> max_train_epochs = 12  The GUI counts the steps from it." in out
    assert "Not understood: 0" in out
    assert "hf_" not in out


def test_several_files_are_one_recipe_and_can_be_saved(run: Run, tmp_path: Path) -> None:
    files = [str(RECIPES / f"sd_scripts_{part}.toml") for part in ("config", "dataset")]
    code, out, _ = run("import", *files, "--json", "--save", str(tmp_path / "mine.toml"))
    record = json.loads(out)
    assert (code, record["values"]["batch_size"], record["format"]) == (0, 2, "sd-scripts")
    assert json.loads(run("import", str(tmp_path / "mine.toml"), "--json")[1])["values"]["network_dim"] == 32


def test_a_lora_file_can_be_trained_like(run: Run, tmp_path: Path) -> None:
    notes = json.loads((RECIPES / "lora_metadata.json").read_text("utf-8"))
    save_file({"lora_unet_a.alpha": np.ones(1, np.float32)}, tmp_path / "zog.safetensors", metadata=notes)
    code, out, _ = run("import", str(tmp_path / "zog.safetensors"), "--json")
    assert (code, json.loads(out)["values"]["optimizer_type"]) == (0, "Prodigy")


def test_a_file_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\0")
    code, _, err = run("import", str(tmp_path / "x.toml"))
    assert (code, "Traceback" in err) == (2, False)
    assert "The file x.toml was not imported." in err
    assert run("import", str(tmp_path / "missing.toml"))[0] == 2


def test_a_run_is_exported_and_its_recipe_comes_back(run: Run, ws: Workspace, tmp_path: Path) -> None:
    job = a_run(ws, "zog", 32)
    code, out, _ = run("export", job.id)
    (tmp_path / "recipe.toml").write_text(out, "utf-8")
    assert (code, "network_dim = 32" in out, "/nowhere" in out) == (0, True, False)
    assert run("compare", job.id, str(tmp_path / "recipe.toml"))[1] == "They do not differ.\n"
    code, out, _ = run("export", "last", "--zip", str(tmp_path / "zog.zip"))
    assert code == 0
    with zipfile.ZipFile(tmp_path / "zog.zip") as archive:
        assert "images/zog/a.png" in archive.namelist()
    code, out, _ = run("export", "last", "--command", "--json")
    assert "--config_file config.toml" in json.loads(out)["bash"]


def test_a_project_is_exported_even_while_nothing_is_chosen(run: Run, ws: Workspace, tmp_path: Path) -> None:
    projects.create(ws, "my cat", {"network_dim": 64, "metadata_trigger_phrase": "zog"})
    code, out, _ = run("export", "my cat")
    assert (code, "network_dim = 64" in out, "zog" in out) == (0, True, False)
    code, _, err = run("export", "my cat", "--zip", str(tmp_path / "cat.zip"))
    assert (code, "No base model is chosen." in err) == (2, True)


def test_what_differs_is_told_in_words(run: Run, ws: Workspace) -> None:
    first, second = a_run(ws, "one", 8), a_run(ws, "two", 32)
    code, out, _ = run("compare", first.id, second.id)
    assert code == 0
    assert "Rank (network_dim): 8 -> 32" in out
    assert "(output_name): one -> two" in out
    rows = json.loads(run("compare", first.id, second.id, "--json")[1])["differences"]
    assert {"setting": "network_dim", "before": 8, "after": 32} in rows


def test_what_is_not_there_is_said(run: Run) -> None:
    code, _, err = run("export", "nothing")
    assert code == 2
    assert "There is no run, project or file nothing." in err
