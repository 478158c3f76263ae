"""What differs between systems: the parts that can be tried here, and types for the others."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lora_core import workspace
from lora_core.jobs import platform
from lora_core.workspace import long_path, read_open, replace_open

ROOT = Path(__file__).parents[2]
NEIGHBOURS = ("platform", "liveness", "spawn", "hosts", "places")
DEEP = "C:\\Users\\Zoë Müller\\" + "a folder\\" * 30 + "status.json"


def test_the_platform_module_stays_small() -> None:
    lines = (ROOT / "lora_core" / "jobs" / "platform.py").read_text("utf-8").splitlines()
    assert len(lines) < 200


@pytest.mark.slow
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_the_types_hold_on(system: str) -> None:
    files = [f"lora_core/jobs/{name}.py" for name in NEIGHBOURS] + [
        "lora_core/volumes.py",
        "lora_core/workspace.py",
    ]
    # A cache of its own: one that changes its system is thrown away each time.
    command = [sys.executable, "-m", "mypy", "--platform", system, "--follow-imports=silent"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / system), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_path_beyond_the_limit_of_windows_gets_its_long_form() -> None:
    assert long_path(Path(DEEP), windows=True) == "\\\\?\\" + DEEP
    assert long_path(Path("\\\\nas\\" + DEEP[3:]), windows=True) == "\\\\?\\UNC\\nas\\" + DEEP[3:]
    assert long_path(Path("\\\\?\\" + DEEP), windows=True) == "\\\\?\\" + DEEP


def test_the_long_form_has_no_dots_and_no_slashes() -> None:
    told = long_path(Path(DEEP.replace("\\", "/").replace("a folder", ".", 1)), windows=True)
    assert told == "\\\\?\\" + DEEP.replace("a folder\\", "", 1)


@pytest.mark.parametrize("text", ["C:\\Users\\me\\ws", "ws/jobs", "x" * 300])
def test_a_short_or_relative_path_stays_as_it_is(text: str) -> None:
    assert long_path(Path(text), windows=True) == text


def test_elsewhere_every_path_stays_as_it_is() -> None:
    assert long_path(Path("/" + "x" * 300), windows=False) == "/" + "x" * 300


def test_a_file_that_is_being_read_is_replaced_when_the_reader_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses for as long as the reader has it open."""
    part, path = tmp_path / "part", tmp_path / "status.json"
    part.write_text("new")
    path.write_text("old")
    refusals = 3
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise PermissionError(13, "The process cannot access the file")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    replace_open(part, path, windows=True)
    assert (path.read_text(), part.exists()) == ("new", False)


def test_a_refusal_that_lasts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(self: Path, target: Path) -> Path:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(workspace, "_PATIENCE_S", 0.05)
    with pytest.raises(PermissionError):
        replace_open(tmp_path / "part", tmp_path / "x", windows=True)
    with pytest.raises(PermissionError):
        replace_open(tmp_path / "part", tmp_path / "x", windows=False)


def test_readers_and_a_writer_at_once_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "my status ü.json"
    path.write_text("0" * 1000, "utf-8")
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(read_open(path))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(100):
        part = tmp_path / "part"
        part.write_text(str(number % 10) * 1000, "utf-8")
        replace_open(part, path)
    done.set()
    for reader in readers:
        reader.join()
    assert all(len(text) == 1000 and len(set(text)) == 1 for text in seen)


def test_a_detached_process_gets_names_that_are_not_ascii(tmp_path: Path) -> None:
    folder = tmp_path / "Zoë Müller 画像"
    folder.mkdir()
    code = "import sys, pathlib; print(sys.argv[1]); pathlib.Path(sys.argv[1], 'ü').write_text('ü')"
    command = [sys.executable, "-I", "-X", "utf8", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, check=True, **platform.detach_options())
    assert done.stdout.decode("utf-8").strip() == str(folder)
    assert (folder / "ü").read_text("utf-8") == "ü"


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX")
def test_a_detached_process_leads_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    options = platform.detach_options()
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, **options)
    assert done.stdout.strip() == b"True"
