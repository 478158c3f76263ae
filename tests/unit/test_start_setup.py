"""The environment is made once, repaired when it was left half made, and never taken from the user.

The setup runs for real, with Python's own venv and pip, on a package index of this test's own: a folder with
wheels of a few lines, one of them in the place of torch.
"""

import base64
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher import main, pip_run, setup, torch_source
from launcher.environment import Environment, Recipe, check_room, locked, room_problem
from launcher.words import SetupError

TORCH = """
__version__ = "2.13.0+cpu"
class _No:
    cuda = hip = None
    def __getattr__(self, name): return _No()
    def is_built(self): return False
    def is_available(self): return False
version = cuda = backends = _No()
"""


def make_wheel(folder: Path, name: str, version: str, code: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(text.encode())}")
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A package index and requirement files, and the folder of one environment that the tests share."""
    root = tmp_path_factory.mktemp("setup")
    wheels = root / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "torch", "2.13.0+cpu", TORCH)
    make_wheel(wheels, "small", "1.0")
    make_wheel(wheels, "small", "2.0")
    (root / "requirements.txt").write_text("torch==2.13.0\nsmall\n")
    (root / "requirements-test.txt").write_text("small\n")
    return SimpleNamespace(root=root, wheels=wheels, env=root / "env", constraints=root / "constraints.txt")


@pytest.fixture(autouse=True)
def own_index(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("REQUIREMENTS", "requirements.txt"), ("TEST_REQUIREMENTS", "requirements-test.txt")):
        monkeypatch.setattr(setup, name, place.root / file)
    place.constraints.write_text("torch==2.13.0\nsmall==1.0\n")
    monkeypatch.setattr(setup, "CONSTRAINTS", place.constraints)
    monkeypatch.setattr(setup, "find_gpus", lambda *_: ())
    monkeypatch.setattr(torch_source, "PYTORCH_INDEX", "http://127.0.0.1:9/whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.wheels))


def version_of(env: Environment, package: str) -> str:
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([env.python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def kill_while_making(folder: Path) -> None:
    """Start to make the environment and kill that as soon as there is something half made."""
    start = (
        "import sys; from pathlib import Path; from launcher.environment import Environment\n"
        "Environment(Path(sys.argv[1])).create()"
    )
    process = subprocess.Popen([sys.executable, "-c", start, folder], cwd=setup.ROOT, start_new_session=True)
    until_s = time.monotonic() + 120
    while not (folder / "pyvenv.cfg").exists():
        assert time.monotonic() < until_s
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_setup_is_made_anew_with_the_pinned_versions_and_the_next_start_does_nothing(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_while_making(place.env)
    assert Environment(place.env).condition(Recipe(files=(), build="cpu")) == "half made"

    env = setup.prepare(place.env)
    told = capsys.readouterr().out
    assert "only half made" in told
    assert [f"[{step}/5]" in told for step in range(1, 6)] == [True] * 5
    assert (version_of(env, "torch"), version_of(env, "small")) == ("2.13.0+cpu", "1.0")
    installed = {"wanted": "cpu", "installed": "cpu", "version": "2.13.0+cpu"}
    assert setup.read_record(env) == {**installed, "gpu": "", "reason": "", "fix": ""}
    assert not (place.env / "tmp").exists(), "the scratch folder is cleared"

    before = {file: file.stat().st_mtime_ns for file in place.env.rglob("*")}
    setup.prepare(place.env)
    assert "is up to date" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in place.env.rglob("*")} == before


def test_a_network_that_is_away_is_named_as_the_cause(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = setup.prepare(place.env)
    monkeypatch.delenv("PIP_NO_INDEX")
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as caught:
        pip_run.run_pip(env, ["install", "a-package-of-nobody"], what="The packages of the app")
    assert "did not answer" in caught.value.why
    assert "Check the connection" in caught.value.fix


def test_a_pin_that_cannot_be_had_is_named_and_costs_nothing_that_was_there(place: SimpleNamespace) -> None:
    env = setup.prepare(place.env)
    (place.env / "keepsake").touch()
    place.constraints.write_text("torch==2.13.0\nsmall==3.0\n")
    with pytest.raises(SetupError, match=r"has no small==3\.0"):
        setup.prepare(place.env)
    assert version_of(env, "small") == "1.0"

    place.constraints.write_text("torch==2.13.0\nsmall==2.0\n")
    setup.prepare(place.env)
    assert version_of(env, "small") == "2.0"
    assert (place.env / "keepsake").exists(), "nothing was half changed, so nothing had to be made anew"


def test_a_machine_whose_gpu_is_not_used_is_told_why_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"gpu": "RTX 3060", "reason": "No network.", "fix": "Run it again."}
    (tmp_path / torch_source.RECORD_NAME).write_text(json.dumps(found))
    setup.tell_gpu_state(Environment(tmp_path))
    told = capsys.readouterr().out
    assert "This computer has a GPU (RTX 3060), and training will use the slower CPU." in told
    assert "Why: No network." in told
    assert "What to do: Run it again." in told


@pytest.mark.parametrize("stamp", ["", '{"format": 1, "st', "[]", '{"format": 1, "keys": []}'])
def test_a_stamp_that_was_cut_off_counts_as_half_made(tmp_path: Path, stamp: str) -> None:
    (tmp_path / "lora-env.json").write_text(stamp)
    assert Environment(tmp_path).condition(Recipe(files=(), build="cpu")) == "half made"


def test_an_environment_whose_python_is_gone_is_unusable(tmp_path: Path) -> None:
    env, recipe = Environment(tmp_path), Recipe(files=(), build="cpu")
    env.mark("ready", [recipe])
    assert env.condition(recipe) == "unusable"


def test_a_folder_of_the_users_own_is_neither_used_nor_deleted(
    place: SimpleNamespace, tmp_path: Path
) -> None:
    own = tmp_path / "letters.txt"
    own.write_text("mine")
    with pytest.raises(SetupError, match="this program did not make it"):
        setup.prepare(tmp_path)
    with pytest.raises(SetupError, match="this program did not make it"):
        Environment(tmp_path).remove()
    assert list(tmp_path.iterdir()) == [own]


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as caught:
        setup.prepare(tmp_path / "file" / "env")
    assert "could not be written" in caught.value.what
    assert "--env PATH" in caught.value.fix


def test_a_file_in_the_place_of_the_environment_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main.main(["--setup-only", "--env", str(tmp_path / "file")]) == 1
    told = capsys.readouterr().err
    assert "file could not be written." in told
    assert "--env PATH" in told


def test_a_disk_that_is_full_at_an_unexpected_place_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/setup.log")

    monkeypatch.setattr(main, "prepare", full)
    assert main.main(["--setup-only"]) == 1
    told = capsys.readouterr().err
    assert "Why: The disk is full. It is about /disk/setup.log." in told
    assert "What to do: Free some space." in told


def test_a_second_setup_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "env"), pytest.raises(SetupError, match="working on"):
        setup.prepare(tmp_path / "env")
    with locked(tmp_path / "env"):
        assert not (tmp_path / "env").exists(), "the one that was refused changed nothing"


@pytest.mark.parametrize(("free_gib", "need_gib", "enough"), [(2.9, 3, False), (3.0, 3, True), (5, 9, False)])
def test_a_disk_with_too_little_room_is_named_before_anything_is_fetched(
    free_gib: float, need_gib: int, enough: bool
) -> None:
    problem = room_problem(int(free_gib * 2**30), need_gib, Path("/disk"))
    assert (problem is None) is enough
    if problem is not None:
        assert f"{free_gib:.1f} GiB free" in problem.why
        assert f"about {need_gib} GiB" in problem.why
        assert "--env PATH" in problem.fix


def test_room_is_looked_for_on_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    check_room(tmp_path / "a" / "b", 0)
    with pytest.raises(SetupError, match="GiB free"):
        check_room(tmp_path / "a" / "b", 2**40)


def test_the_status_line_tells_how_much_is_fetched_and_how_many_packages_are_in_place(tmp_path: Path) -> None:
    watcher = pip_run._Watcher(tmp_path)
    try:
        (tmp_path / "tmp").mkdir()
        (tmp_path / "tmp" / "torch.whl").write_bytes(bytes(5_000_000))
        watcher.take("Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (200.5 MB)\n")
        assert watcher._describe().startswith(
            "fetching torch-2.13.0-cp311-cp311-linux_x86_64.whl: 5 of 200 MB"
        )
        watcher.take("Installing collected packages: one, two, three\n")
        assert watcher._describe() == "putting the packages in place: 0 of 3"
        record = tmp_path / "lib" / "python3.11" / "site-packages" / "one-1.0.dist-info" / "RECORD"
        record.parent.mkdir(parents=True)
        record.write_text("")
        os.utime(record, (time.time() + 5, time.time() + 5))
        assert watcher._describe() == "putting the packages in place: 1 of 3"
    finally:
        watcher.close()


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "is full",
        ),
        (
            "Retrying ... NewConnectionError: [Errno -3]\nERROR: No matching distribution found for x",
            "offline",
        ),
        (
            "ERROR: No matching distribution found for streamlit==1.67.0",
            "no streamlit==1.67.0 for this system",
        ),
        ("ERROR: Could not install: [Errno 13] Permission denied: 'x'", "cannot be written"),
        ("something nobody has seen", "something nobody has seen"),
    ],
)
def test_the_end_of_pips_output_becomes_a_cause_and_a_fix(output: str, why: str) -> None:
    error = pip_run.explain("torch", output.splitlines(), Path("/env/setup.log"))
    assert why in error.why
    assert error.fix


@pytest.mark.parametrize(
    ("version", "bits", "system", "machine", "kind", "musl", "why"),
    [
        ((3, 15), True, "Linux", "x86_64", "cpython", False, "Python 3.15"),
        ((3, 11), False, "Windows", "x86", "cpython", False, "32-bit"),
        ((3, 11), True, "Linux", "x86_64", "pypy", False, "pypy"),
        ((3, 11), True, "Darwin", "x86_64", "cpython", False, "Intel Macs"),
        ((3, 11), True, "Linux", "x86_64", "cpython", True, "musl"),
    ],
)
def test_a_python_that_has_no_torch_is_refused_before_anything_is_fetched(
    version: tuple[int, int], bits: bool, system: str, machine: str, kind: str, musl: bool, why: str
) -> None:
    with pytest.raises(SetupError) as caught:
        setup.check_python(version, bits, system, machine, kind, musl)
    assert why in caught.value.why


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_every_python_with_a_torch_is_taken(minor: int) -> None:
    setup.check_python((3, minor), True, "Linux", "x86_64", "cpython", False)
    setup.check_python((3, minor), True, "Darwin", "arm64", "cpython", False)


def test_a_python_without_its_venv_module_is_told_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)  # what an import of Debian's bare python3 meets
    with pytest.raises(SetupError) as caught:
        Environment(tmp_path / "env").create()
    assert f"apt install python3.{sys.version_info[1]}-venv" in caught.value.fix
    assert not (tmp_path / "env").exists()
