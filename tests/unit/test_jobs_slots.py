"""Devices as locks: which there are, and that nobody shares one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lora_core import machine
from lora_core.jobs import liveness, slots
from lora_core.jobs.records import Job
from lora_core.reporting import Ended, NullReporter, Request
from lora_core.workspace import Workspace, write_json


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LORA_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Workspace.open(tmp_path / "ws")


def told(ws: Workspace, **facts: Any) -> None:
    """As if torch had told this at its last look."""
    record = {"format": 1, "at": 0, "torch_version": machine._installed("torch"), "torch": facts}
    write_json(ws.root / "machine.json", record)


def job_in(ws: Workspace) -> Job:
    folder = ws.jobs / "1"
    folder.mkdir(exist_ok=True)
    return Job(id="1", kind="train", name="my LoRA", folder=folder, created=0.0)


# --- which there are --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_the_look", "now", "names"),
    [
        (None, None, ("cuda:0", "cuda:1")),
        (None, "1", ("cuda:1",)),
        (None, "1,0", ("cuda:1", "cuda:0")),
        (None, "1,7,0", ("cuda:1",)),  # CUDA itself ends at a card that is not there
        (None, "GPU-a, GPU-b", ("cuda:GPU-a", "cuda:GPU-b")),
        (None, "", ("cpu",)),
        (None, "-1", ("cpu",)),
        ("2,5", "2,5", ("cuda:2", "cuda:5")),
        ("2,5", None, ("cuda:2", "cuda:5")),
        ("2,5", "5", ("cuda:5",)),
    ],
)
def test_cards_are_those_that_torch_counted_and_the_environment_allows(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, at_the_look: str | None, now: str | None, names: Any
) -> None:
    told(ws, device="cuda", device_count=2, visible_devices=at_the_look)
    if now is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", now)
    assert slots.devices(ws) == names


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ({"device": "cpu"}, ("cpu",)),
        ({"device": "mps"}, ("mps",)),
        ({"device": "cuda"}, ("cuda:0",)),  # a look of before cards were counted
        ({"device": "cuda", "device_count": "two"}, ("cuda:0",)),
        ({"error": "torch is broken"}, ("cpu",)),
    ],
)
def test_without_a_count_there_is_one_device(ws: Workspace, facts: dict[str, Any], names: Any) -> None:
    told(ws, **facts)
    assert slots.devices(ws) == names


def test_before_torch_was_asked_a_card_counts_where_its_driver_is(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_driver_there", lambda: False)
    assert slots.devices(ws) == ("cpu",)
    monkeypatch.setattr(slots, "_driver_there", lambda: True)
    assert slots.devices(ws) == ("cuda:0",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert slots.devices(ws) == ("cuda:3",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.devices(ws) == ("cpu",)


# --- taking one -------------------------------------------------------------------------------------


def test_a_taken_card_is_in_use_for_everybody_and_the_only_one_its_process_sees(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    lock = slots.take(job_in(ws), "cuda:1", NullReporter())
    assert lock is not None
    try:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert slots.in_use("cuda:1")
        assert not slots.in_use("cuda:0")
        with pytest.raises(TimeoutError):
            slots.claim("cuda:1")
        code = "from lora_core.jobs import slots; print(slots.in_use('cuda:1'), slots.in_use('cuda:0'))"
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert seen.stdout.split() == ["True", "False"], "another process sees it too"
        owner = liveness.read_owner(slots.lock_of("cuda:1"))
        assert owner is not None
        assert owner.about["workspace"] == str(ws.root)
    finally:
        lock.release()
        slots.lock_of("cuda:1").with_suffix(".json").unlink()
    assert not slots.in_use("cuda:1")


def test_of_two_runners_that_want_a_card_at_once_one_gets_it(ws: Workspace) -> None:
    first = slots.claim("cuda:0")
    assert first is not None
    assert slots.in_use("cuda:0")
    with pytest.raises(TimeoutError):
        slots.claim("cuda:0")
    first.release()
    assert not slots.in_use("cuda:0")


@pytest.mark.parametrize("device", ["cpu", "mps", None])
def test_what_is_no_card_is_not_locked(ws: Workspace, device: str | None) -> None:
    assert slots.claim(device) is None
    assert slots.take(job_in(ws), device, NullReporter()) is None
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


class _Asked(NullReporter):
    """Somebody asks it to end as soon as it says that it waits."""

    waits = False

    def phase(self, text: str) -> None:
        self.waits = text.startswith("Waiting for the graphics card")

    def request(self) -> Request | None:
        return "stop" if self.waits else None


def test_waiting_for_a_card_hears_a_request(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_TURN_S", 0.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    slots.folder().mkdir()
    with liveness.Lock.acquire(slots.lock_of("cuda:0")), pytest.raises(Ended):
        slots.take(job_in(ws), "cuda:0", _Asked())


def test_where_no_lock_can_be_made_the_training_goes_on(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    slots.folder().write_text("a file where the folder should be")
    assert slots.claim("cuda:0") is None
    assert slots.take(job_in(ws), "cuda:0", NullReporter()) is None
    assert not slots.in_use("cuda:0")


def test_the_locks_of_a_shared_home_are_told_apart_by_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_DEVICE_LOCKS", raising=False)
    here = slots.folder()
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert slots.folder() != here
    assert slots.folder().parent == here.parent
