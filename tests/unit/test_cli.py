"""The commands: what they print, what they end with, and that the docs say the same."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from safetensors.numpy import save_file

from lora_core import cli, cli_text, jobs
from lora_core.errors import JobError
from lora_core.jobs import End, Status
from lora_core.jobs.records import write_status
from lora_core.workspace import Workspace

ROOT = Path(__file__).parents[2]
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def run(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; returns exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--workspace", str(ws.root)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def a_job(ws: Workspace, state: str = "finished", **changes: Any) -> jobs.Job:
    """A job whose record says `state`; no process is started for it."""
    job = jobs.create(ws, "train", "zog", {"output_name": "zog"}, engine="diffusers", start=False)
    ended = End(cause="The disk is full.", fix="Free some space.", at=1.0, step=3)
    end = ended if state in jobs.ENDED else None
    record = Status(**{"state": state, "updated": time.time(), "end": end, "step": 3, "total": 10, **changes})
    write_status(job.folder, record)
    return job


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    return folder


def an_import(ws: Workspace, source: Path) -> jobs.Job:
    return jobs.create(ws, "import", "pictures", {"source": str(source), "name": "pictures"}, start=False)


# --- jobs ---------------------------------------------------------------------------------------


def test_a_workspace_without_jobs_says_so(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("jobs") == (0, "There are no jobs.\n", "")
    assert run("jobs", "--json") == (0, "[]\n", "")


def test_jobs_are_listed_newest_first(ws: Workspace, run: Callable[..., tuple[int, str, str]]) -> None:
    old, new = a_job(ws), a_job(ws, "stopped")
    code, out, _ = run("jobs")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [[new.id, "stopped"], [old.id, "finished"]]
    assert [record["id"] for record in json.loads(run("jobs", "--json")[1])] == [new.id, old.id]


def test_the_record_of_a_job_has_its_state_and_step(
    ws: Workspace, run: Callable[..., tuple[int, str, str]]
) -> None:
    job = a_job(ws, "failed")
    code, out, _ = run("jobs", "show", job.id, "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["id"], record["state"], record["step"], record["total"]) == (job.id, "failed", 3, 10)
    assert record["end"]["fix"] == "Free some space."


def test_a_loss_that_is_not_a_number_is_null_in_json(ws: Workspace, run: Callable[..., Any]) -> None:
    job = a_job(ws, "failed", loss=float("nan"), steps_per_s=float("inf"))
    for arguments in (["jobs", "show", job.id, "--json"], ["jobs", "--json"]):
        printed = run(*arguments)[1]
        found = json.loads(printed, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        record = found[0] if isinstance(found, list) else found
        assert (record["loss"], record["steps_per_s"]) == (None, None)


def test_the_text_about_a_job_has_cause_and_fix(
    ws: Workspace, run: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = run("jobs", "show", a_job(ws, "failed").id)
    assert "state: failed" in out
    assert "cause: The disk is full." in out
    assert "fix: Free some space." in out


def test_options_may_stand_before_the_name_of_the_command(ws: Workspace, capsys: Any) -> None:
    job = a_job(ws)
    assert cli.main(["jobs", "--workspace", str(ws.root), "--json", "show", job.id]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == job.id


@pytest.mark.parametrize("wanted", [lambda i: i, lambda i: i[:-2], lambda i: i[-4:], lambda _: "last"])
def test_a_job_is_found_by_its_id_its_beginning_its_end_and_as_the_last(
    ws: Workspace, run: Callable[..., tuple[int, str, str]], wanted: Callable[[str], str]
) -> None:
    job = a_job(ws)
    assert json.loads(run("jobs", "show", wanted(job.id), "--json")[1])["id"] == job.id


@pytest.mark.parametrize("wanted", ["nothing", "last", "../..", ""])
def test_an_id_that_is_no_job_is_bad_input(run: Callable[..., tuple[int, str, str]], wanted: str) -> None:
    code, out, error = run("jobs", "show", wanted)
    assert (code, out) == (2, "")
    assert re.search(r"^Why: .+\nWhat to do: .+", error, re.MULTILINE)


def test_half_an_id_that_fits_two_jobs_is_bad_input(
    ws: Workspace, run: Callable[..., tuple[int, str, str]]
) -> None:
    a_job(ws)
    prefix = a_job(ws).id[:2]
    assert run("jobs", "show", prefix)[0] == 2


def test_the_log_is_printed_from_its_end(ws: Workspace, run: Callable[..., tuple[int, str, str]]) -> None:
    job = a_job(ws)
    assert "nothing yet" in run("jobs", "log", job.id)[1]
    job.log.write_text("one\ntwo\nthree\n", "utf-8")
    assert run("jobs", "log", job.id, "--lines", "2")[1] == "two\nthree\n"
    assert json.loads(run("jobs", "log", job.id, "--json")[1])["lines"] == ["one", "two", "three"]


def test_stopping_a_job_that_waits_ends_it(ws: Workspace, run: Callable[..., tuple[int, str, str]]) -> None:
    job = a_job(ws, "paused")
    code, out, _ = run("jobs", "stop", job.id, "--wait", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "stopped"


def test_resuming_what_is_finished_is_bad_input(
    ws: Workspace, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = run("jobs", "resume", a_job(ws).id, "--json")
    assert code == 2
    assert "finished" in json.loads(out)["error"]["why"]


# --- waiting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"), [("finished", 0), ("failed", 1), ("lost", 1), ("stopped", 3), ("paused", 3)]
)
def test_each_end_of_a_job_has_its_exit_code(ws: Workspace, capsys: Any, state: str, code: int) -> None:
    job = a_job(ws, state)
    with pytest.raises(typer.Exit) as left:
        cli._hand_over(ws, job, wait=True, as_json=True)
    assert left.value.exit_code == code
    first, last = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"id": job.id}
    assert json.loads(last)["state"] == state


def test_a_job_that_ended_badly_tells_cause_and_fix(ws: Workspace, capsys: Any) -> None:
    assert cli._wait_and_tell(ws, a_job(ws, "failed"), as_json=False) == 1
    assert "The disk is full.\nWhat to do: Free some space." in capsys.readouterr().err


def test_a_finished_run_tells_where_its_results_are(ws: Workspace, capsys: Any) -> None:
    job = a_job(ws, end=End(cause="It is finished.", result="loras/zog.safetensors"))
    for name in ("samples", "tensorboard"):
        (job.folder / name).mkdir()
    assert cli._wait_and_tell(ws, job, as_json=False) == 0
    out = capsys.readouterr().out
    assert f"LoRA file: {ws.loras / 'zog.safetensors'}" in out
    assert f"Samples: {job.folder / 'samples'}" in out
    assert f"TensorBoard: {job.folder / 'tensorboard'}" in out


def test_progress_says_done_total_rate_time_left_and_loss() -> None:
    status = Status(
        state="running", message="Training.", step=30, total=400, steps_per_s=4.0, eta_s=92.4, loss=0.125
    )
    assert cli_text.progress_text(status) == (
        "Training · 30 of 400 · 4.00 a second · 1 min 32 s left · loss 0.1250"
    )
    assert cli_text.progress_text(Status(state="starting")) == "starting"


@pytest.fixture
def real_jobs(ws: Workspace) -> Iterator[Workspace]:
    """A workspace whose runner is left to end before the test's folder goes."""
    yield ws
    deadline = time.monotonic() + 60
    from lora_core.jobs.liveness import read_owner
    from lora_core.jobs.spawn import runner_alive, runner_lock

    owner = read_owner(runner_lock(ws))
    if owner is not None and runner_alive(ws):
        os.kill(owner.pid, signal.SIGTERM)
    while runner_alive(ws):
        assert time.monotonic() < deadline, "the runner did not end"
        time.sleep(0.05)


def test_real_jobs_are_followed_to_their_end(real_jobs: Workspace, pictures: Path, capsys: Any) -> None:
    good, bad = an_import(real_jobs, pictures), an_import(real_jobs, pictures / "missing")
    for job in (good, bad):
        jobs.stop(real_jobs, job.id)
    place = ["--workspace", str(real_jobs.root)]
    assert cli.main(["jobs", "resume", good.id, "--wait", "--json", *place]) == 0
    first, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["id"], last["state"]) == (good.id, "finished")
    assert Path(last["result"]) == real_jobs.datasets / "pictures"
    assert cli.main(["jobs", "resume", bad.id, "--wait", *place]) == 1
    assert "What to do:" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_the_waiting_and_not_the_job(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    job = a_job(ws, "queued", end=None)
    looks = []

    def look(_: Workspace) -> bool:
        if not looks:
            threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        looks.append(1)
        return False

    monkeypatch.setattr(jobs, "ensure_runner", look)
    with pytest.raises(typer.Exit) as left:
        cli._wait_and_tell(ws, job, as_json=False)
    assert left.value.exit_code == 130
    assert "The job goes on" in capsys.readouterr().err
    assert list((job.folder / "requests").glob("*")) == [], "the job was asked for something"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_waiting_for_a_stop_ends_with_130_as_well(
    ws: Workspace, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(ws, "starting", end=None)
    monkeypatch.setattr(jobs.control, "ensure_runner", lambda _: False)

    def look(_: Workspace) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False

    monkeypatch.setattr(jobs, "ensure_runner", look)
    code, _, told = run("jobs", "stop", job.id, "--wait")
    assert code == 130
    assert "The job goes on" in told


# --- train --------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, pictures: Path) -> Path:
    (tmp_path / "dataset.toml").write_text(
        f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{pictures}"\n', "utf-8"
    )
    path = tmp_path / "config.toml"
    path.write_text('pretrained_model_name_or_path = "/no/base"\n', "utf-8")
    return path


def test_every_problem_of_a_run_is_told_and_nothing_is_started(
    ws: Workspace, run: Callable[..., tuple[int, str, str]], config: Path
) -> None:
    code, out, error = run(
        "train", str(config), "--set", "lr_scheduler=constant", "--set", "lr_warmup_steps=5"
    )
    assert (code, out) == (2, "")
    assert "- pretrained_model_name_or_path: " in error
    assert "- lr_warmup_steps: " in error
    assert jobs.jobs(ws) == []


def test_a_config_that_is_not_one_is_bad_input(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff")
    for path in (bad, tmp_path / "none.toml", tmp_path):
        assert run("train", str(path))[0] == 2


@pytest.mark.parametrize("text", ["nothing", "nothing=1", "network_dim=x", "network_dim=", "seed=-1"])
def test_a_change_that_does_not_fit_is_bad_input(
    run: Callable[..., tuple[int, str, str]], config: Path, text: str
) -> None:
    code, _, error = run("train", str(config), "--set", text)
    assert code == 2
    assert text.partition("=")[0] in error


def test_changes_are_read_as_the_settings_need_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = [
        "learning_rate=3e-4",
        "lr_warmup_steps=0.05",
        "cache_latents=off",
        "max_train_epochs=",
        "betas=0.9, 0.99",
    ]
    assert cli._changes([*changes, "image_dir=pictures", "training_comment=a=b"]) == {
        "learning_rate": 3e-4,
        "lr_warmup_steps": 0.05,
        "cache_latents": False,
        "max_train_epochs": None,
        "betas": (0.9, 0.99),
        "image_dir": tmp_path / "pictures",
        "training_comment": "a=b",
    }


def test_an_engine_that_does_not_exist_is_bad_input(
    run: Callable[..., tuple[int, str, str]], config: Path
) -> None:
    assert run("train", str(config), "--engine", "none")[0] == 2


# --- looking ------------------------------------------------------------------------------------


def test_the_doctor_names_every_finding_and_its_fix(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("doctor", "--quick", "--json")
    findings = json.loads(out)["findings"]
    assert code in {0, 1}
    assert {finding["key"] for finding in findings} >= {"python", "memory", "disk", "graphics"}
    text = run("doctor", "--quick")[1]
    assert all(finding["sentence"] in text for finding in findings if finding["key"] != "memory")


def test_the_doctor_ends_with_1_when_no_run_can_start(ws: Workspace, run: Any, monkeypatch: Any) -> None:
    from lora_core import machine

    monkeypatch.setattr(machine, "read_facts", lambda _: {"error": "it is broken"})
    assert run("doctor", "--quick")[0] == 1


def test_a_lora_file_is_described_and_a_damaged_one_is_bad_input(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "zog.safetensors"
    factors = {"lora_down": np.ones((4, 2), np.float16), "lora_up": np.ones((2, 4), np.float16)}
    save_file({f"lora_unet_a.{n}.weight": v for n, v in factors.items()}, path, metadata={"ss_steps": "12"})
    assert cli.main(["lora", "info", str(path)]) == 0
    assert "Rank: 4\n" in capsys.readouterr().out
    assert cli.main(["lora", "info", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["steps"], record["sound"]) == (12, True)
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["lora", "info", str(path)]) == 2
    assert "cut off" in capsys.readouterr().err


def test_a_hostile_title_neither_moves_the_cursor_nor_stops_the_command(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "zog.safetensors"
    shape = {"dtype": "F32", "shape": [1, 1]}
    header = {
        "__metadata__": {"modelspec.title": "\x1b[2Jzog\nSound: no \ud800"},
        "lora_unet_a.lora_down.weight": {**shape, "data_offsets": [0, 4]},
        "lora_unet_a.lora_up.weight": {**shape, "data_offsets": [4, 8]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    assert cli.main(["lora", "info", str(path)]) == 0
    assert "Name: ?[2Jzog?Sound: no ?\n" in capsys.readouterr().out
    assert cli.main(["lora", "info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == header["__metadata__"]["modelspec.title"]


# --- the whole ----------------------------------------------------------------------------------


def test_a_usage_error_is_bad_input_without_a_traceback(capsys: Any) -> None:
    for arguments in (["nothing"], ["train"], ["jobs", "show"], ["demo", "--nothing"]):
        assert cli.main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["file", "~nobody-of-this-name/w"])
def test_a_workspace_that_cannot_be_made_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x", "utf-8")
    assert cli.main(["jobs", "--workspace", name, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["fix"]


def test_a_refusal_of_the_system_is_told_without_a_traceback(
    config: Path, ws: Workspace, capsys: Any
) -> None:
    too_long = f"pretrained_model_name_or_path={'/m' * 3000}"
    place = ["--workspace", str(ws.root)]
    assert cli.main(["train", str(config), "--set", too_long, "--json", *place]) == 2
    assert "too long" in json.loads(capsys.readouterr().out)["error"]["why"]


def test_a_full_disk_is_called_one(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Workspace) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jobs, "jobs", full)
    code, _, told = run("jobs")
    assert code == 2
    assert "The disk is full." in told


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX alone")
def test_a_run_in_a_folder_whose_name_is_no_text_is_told_and_leaves_nothing(
    tmp_path: Path, pictures: Path, ws: Workspace, capsys: Any
) -> None:
    from lora_core.demo import BASE_DIR

    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    pictures.rename(odd / "pictures")
    (odd / "dataset.toml").write_text(
        '[[datasets]]\nresolution = 64\nmin_bucket_reso = 64\n[[datasets.subsets]]\nimage_dir = "pictures"\n',
        "utf-8",
    )
    (odd / "config.toml").write_text(f"pretrained_model_name_or_path = '{BASE_DIR}'\n", "utf-8")
    assert cli.main(["train", str(odd / "config.toml"), "--detach", "--workspace", str(ws.root)]) == 2
    assert "not UTF-8 text" in capsys.readouterr().err
    assert list(ws.jobs.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX alone")
def test_names_that_the_terminal_cannot_write_stop_no_command(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xe6\x97\xa5")
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "LORA_WORKSPACE": str(tmp_path)}
    for option in ([], ["--json"]):
        command = [sys.executable, "-m", "lora_core", "lora", "info", name, *option]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environ)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        if option:
            assert name in json.loads(done.stdout)["error"]["what"]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, ws: Workspace) -> None:
    monkeypatch.setattr(jobs, "jobs", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["jobs", "--workspace", str(ws.root)])


def commands() -> Iterator[tuple[str, Any]]:
    top = typer.main.get_command(cli.app)
    for name, found in top.commands.items():  # type: ignore[attr-defined]  the top is a group of commands
        yield name, found
        for inner, command in getattr(found, "commands", {}).items():
            yield f"{name} {inner}", command


@pytest.mark.parametrize(
    ("name", "found"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_command_and_option_has_help_and_stands_in_the_docs(name: str, found: Any) -> None:
    assert (found.help or "").strip().endswith(".")
    if name != "lora":
        assert f"`python -m lora_core {name}" in COMMANDS_PAGE
    for option in found.params:
        if option.param_type_name == "option":
            assert option.help, f"{name} {option.name}"
            assert all(f"`{flag}" in COMMANDS_PAGE for flag in [*option.opts, *option.secondary_opts])


def test_the_docs_list_each_exit_code() -> None:
    codes = {value for name, value in vars(cli_text).items() if name.startswith("EXIT_")}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", COMMANDS_PAGE, re.MULTILINE)}
    assert listed == codes


def test_commands_do_not_load_torch_to_look(ws: Workspace) -> None:
    code = (
        "import sys; from lora_core import cli;"
        f"cli.main(['jobs', '--workspace', {str(ws.root)!r}]);"
        "print(*{'torch', 'numpy', 'streamlit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[1:] in ([], [""])


def test_an_error_names_what_why_and_fix() -> None:
    error = JobError("It stopped.", why="The disk is full.", fix="Free some space.")
    assert cli_text.error_text(error) == "It stopped.\nWhy: The disk is full.\nWhat to do: Free some space."
