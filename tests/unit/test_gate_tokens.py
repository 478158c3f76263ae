"""Where the token comes from, who can read it, and how it is compared."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lora_core.errors import WorkspaceError
from lora_core.workspace import Workspace
from ui import gate, tokens

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no file modes")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def test_the_token_is_made_once_and_kept(ws: Workspace) -> None:
    first = tokens.load(ws, {})
    assert len(first.token) == 43  # 32 random bytes
    assert tokens.load(ws, {}) == first
    assert (ws.root / ".access" / "token").read_text() == first.token + "\n"


@posix
def test_only_the_owner_can_read_token_and_key_whatever_the_umask(ws: Workspace) -> None:
    before = os.umask(0)
    try:
        tokens.load(ws, {})
    finally:
        os.umask(before)
    folder = ws.root / ".access"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())} == {
        ".access": 0o700,
        "token": 0o600,
        "key": 0o600,
    }


@posix
def test_files_that_others_could_read_are_closed_to_them(ws: Workspace) -> None:
    access = tokens.load(ws, {})
    folder = ws.root / ".access"
    folder.chmod(0o755)
    (folder / "token").chmod(0o644)
    assert tokens.load(ws, {}) == access
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("name", ["token", "key"])
def test_a_link_in_the_place_of_a_file_is_not_followed(ws: Workspace, tmp_path: Path, name: str) -> None:
    tokens.load(ws, {})
    (tmp_path / "other").write_text("a" * 64)
    (ws.root / ".access" / name).unlink()
    (ws.root / ".access" / name).symlink_to(tmp_path / "other")
    with pytest.raises(WorkspaceError):
        tokens.load(ws, {})


@posix
def test_a_link_in_the_place_of_the_folder_is_not_followed(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (ws.root / ".access").symlink_to(tmp_path / "other")
    with pytest.raises(WorkspaceError, match="not a folder"):
        tokens.load(ws, {})


@posix
def test_a_pipe_in_the_place_of_a_file_does_not_hold_the_start_up(ws: Workspace) -> None:
    (ws.root / ".access").mkdir()
    os.mkfifo(ws.root / ".access" / "key")
    with pytest.raises(WorkspaceError, match="not a plain file"):
        tokens.load(ws, {})


def test_many_processes_that_start_at_once_agree(ws: Workspace) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: tokens.load(ws, {}), range(64)))
    assert len(found) == 1
    assert sorted(path.name for path in (ws.root / ".access").iterdir()) == ["key", "token"]


def test_a_file_system_without_hard_links_works_too(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    first = tokens.load(ws, {})
    assert tokens.load(ws, {}) == first


@pytest.mark.parametrize("content", ["", "short", "a\x00b" * 10])
def test_a_broken_token_file_is_told_and_never_used(
    ws: Workspace, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_WRITING_S", 0.1)
    tokens.load(ws, {})
    (ws.root / ".access" / "token").write_text(content)
    with pytest.raises(WorkspaceError, match="Remove it"):
        tokens.load(ws, {})


def test_a_token_that_a_person_wrote_into_the_file_is_used(ws: Workspace) -> None:
    tokens.load(ws, {})
    (ws.root / ".access" / "token").write_text("my own words\r\n")
    assert tokens.load(ws, {}).token == "my own words"


def test_the_variable_wins_and_is_written_nowhere(ws: Workspace) -> None:
    access = tokens.load(ws, {"LORA_TOKEN": "from-the-environment"})
    assert access.token == "from-the-environment"
    assert not (ws.root / ".access" / "token").exists()
    assert tokens.load(ws, {"LORA_TOKEN": "  "}).token != ""


def test_a_workspace_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="sign-in token"):
        tokens.load(Workspace(tmp_path / "file"), {})


def test_token_and_key_do_not_show_in_messages(ws: Workspace) -> None:
    access = tokens.load(ws, {})
    assert access.token not in repr(access)
    assert str(access.key) not in repr(access)


@pytest.mark.parametrize(
    "wrong", ["", "x", "right-toke", "right-token ", "RIGHT-TOKEN", "right-token\udcff", "ä" * 5000]
)
def test_only_the_token_is_right(wrong: str) -> None:
    access = tokens.Access("right-token", b"k" * 32)
    assert access.is_right("right-token")
    assert not access.is_right(wrong)


def test_tokens_are_compared_by_the_constant_time_function(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def compare(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    access = tokens.Access("right-token", b"k" * 32)
    for token in ("", "x" * 10_000, "right-token"):
        access.is_right(token)
    access.read_cookies([f"{access.cookie_name}=v1.1..{'0' * 64}"], 1.0)
    assert lengths == [(32, 32)] * 3 + [(64, 64)]


def test_the_link_takes_any_token() -> None:
    link = tokens.Access("a b+&#/ä", b"k").link("http://127.0.0.1:8501")
    assert link == "http://127.0.0.1:8501/?token=a%20b%2B%26%23%2F%C3%A4"


def _link(ws: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ui.gate", "link"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LORA_WORKSPACE": str(ws), **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_the_same_link_again(tmp_path: Path) -> None:
    first, second = _link(tmp_path, LORA_PORT="8600"), _link(tmp_path, LORA_PORT="8600")
    token = tokens.load(Workspace.open(tmp_path), {}).token
    assert first.stdout == second.stdout == f"http://127.0.0.1:8600/?token={token}\n"
    assert first.stderr == ""


def test_the_command_says_why_it_has_no_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = _link(tmp_path / "file")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "What to do" in answer.stderr


def test_the_command_gives_the_plain_address_without_a_token(tmp_path: Path) -> None:
    assert _link(tmp_path, LORA_NO_TOKEN="1").stdout == "http://127.0.0.1:8501/\n"


def test_the_gate_imports_neither_the_pages_framework_nor_a_trainer() -> None:
    code = (
        "import sys, ui.gate, ui.share\n"
        "print([m for m in ('streamlit', 'torch', 'diffusers', 'pandas', 'pages') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_an_unwritable_workspace_still_gets_a_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (middleware,) = gate.gate_middleware({"LORA_WORKSPACE": str(tmp_path / "file")})
    assert len(middleware.kwargs["access"].token) == 43
    assert "could not be made" in capsys.readouterr().err


def test_what_opens_the_browser_is_right_once_and_for_two_minutes() -> None:
    access = tokens.Access("right-token", b"k" * 32)
    once = access.new_once(1000.0)
    assert access.token not in once
    assert not access.use_once(once, 1000.0 + tokens.ONCE_LIFE_S)
    assert not access.use_once(once.replace("once.1000", "once.1001"), 1001.0)
    assert not tokens.Access("another-token", b"k" * 32).use_once(once, 1001.0)
    assert access.use_once(once, 1001.0)
    assert not access.use_once(once, 1002.0)


def test_a_short_token_is_told_beside_the_link(tmp_path: Path) -> None:
    answer = _link(tmp_path, LORA_TOKEN="short-one")
    assert answer.stdout.endswith("/?token=short-one\n")
    assert "harder to guess" in answer.stderr
