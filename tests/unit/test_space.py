"""Room on the disk: a need is compared with what is free, and a full disk makes a pause."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lora_core.engines import manifest
from lora_core.errors import DiskFullError
from lora_core.jobs import space
from lora_core.reporting import Ended
from lora_core.workspace import Workspace

GIB = 2**30


def _full_at_write() -> None:
    raise DiskFullError("The state x was not saved.")


def _full_by_number() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _over_quota() -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_need_that_fits_is_no_problem_and_one_that_does_not_is_told_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace(tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(space, "free_bytes", lambda _place: 3 * GIB)
    assert space.check(ws, 3 * GIB) is None
    problem = space.check(ws, 12 * GIB)
    assert problem is not None
    assert "about 12.0 GiB" in problem.what
    assert "3.0 GiB are free" in problem.what
    assert "Free 9.0 GiB" in problem.fix


def test_what_is_free_is_known_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert space.free_bytes(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize("full", [_full_at_write, _full_by_number, _over_quota])
def test_a_full_disk_is_a_pause_with_its_cause_and_leaves_no_reserve(
    tmp_path: Path, full: Callable[[], None]
) -> None:
    (tmp_path / "progress.jsonl").write_text('{"kind": "step", "step": 7}\n')

    def fill() -> None:
        assert (tmp_path / space.RESERVE).stat().st_size == 64 * 1024
        full()

    with pytest.raises(Ended) as caught, space.pausing_when_full(tmp_path):
        fill()
    assert (caught.value.request, caught.value.step) == ("pause", 7)
    assert caught.value.cause.startswith("The disk is full, so the run was paused at step 7.")
    assert "Free some space" in caught.value.fix
    assert not (tmp_path / space.RESERVE).exists()


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), ValueError("no"), Ended("stop", step=3)]
)
def test_whatever_else_goes_wrong_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, space.pausing_when_full(tmp_path):
        raise error
    assert caught.value is error
    assert not (tmp_path / space.RESERVE).exists()


def test_a_run_whose_last_save_would_not_fit_again_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "states" / "x-step00000020-state"
    state.mkdir(parents=True)
    (state / "lora.safetensors").write_bytes(b"12345678")
    manifest.seal(state, {"step": 20, "epoch": 1})
    monkeypatch.setattr(space, "free_bytes", lambda _place: 7)
    began = False
    with pytest.raises(Ended) as caught, space.pausing_when_full(tmp_path):
        began = True
    assert not began
    assert (caught.value.request, caught.value.step) == ("pause", 20)
    assert "was not started" in caught.value.cause


def test_a_disk_without_room_for_the_reserve_is_a_pause_too(small_disk: Path) -> None:
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(Ended, match="pause"), space.pausing_when_full(small_disk):
        pytest.fail("it began")
    assert [entry.name for entry in small_disk.iterdir()] == ["filler"]
