"""What is found out about the machine, and that nothing heavy is loaded for it."""

import json
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from lora_core import machine
from lora_core.machine import Finding, Machine, probe, read_facts, run_probe
from lora_core.reporting import NullReporter
from lora_core.workspace import Workspace, read_json, write_json

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stands in for nvidia-smi with a shell script"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def smi(folder: Path, text: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def finding(found: Machine, key: str) -> Finding:
    (one,) = [finding for finding in found.findings if finding.key == key]
    return one


def remember(workspace: Workspace, facts: dict[str, object], version: str | None = None) -> None:
    record = {"format": 1, "at": 0, "torch_version": version or machine._installed("torch"), "torch": facts}
    write_json(workspace.root / "machine.json", record)


def test_the_first_look_says_everything_but_torch(workspace: Workspace, programs: Path, prefix: Path) -> None:
    found = probe(workspace)
    assert [f.key for f in found.findings] == ["python", "processor", "memory", "disk", "graphics"]
    assert not found.torch_known
    assert finding(found, "python").value.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    json.dumps(found.record())


def test_whatever_is_not_well_comes_with_one_fix(workspace: Workspace, programs: Path, prefix: Path) -> None:
    for one in probe(workspace).findings:
        assert one.sentence.endswith(".")
        assert bool(one.fix) == (one.state != "ok")


def test_a_card_is_named_with_its_memory_and_driver(workspace: Workspace, programs: Path) -> None:
    smi(programs, 'echo "NVIDIA RTX 9090, 580.95.05, 24564, 300"')
    found = probe(workspace)
    assert finding(found, "graphics").value == "NVIDIA RTX 9090 with 24 GiB, driver 580.95.05"
    assert found.gpus[0].memory_used_mib == 300


@pytest.mark.parametrize("text", ["exit 9", "echo rubbish", "echo 'No devices were found' >&2; exit 6", ""])
def test_a_driver_that_does_not_answer_is_no_card(workspace: Workspace, programs: Path, text: str) -> None:
    smi(programs, text)
    found = probe(workspace)
    assert finding(found, "graphics").state == "attention"
    assert found.gpus == ()


def test_a_cpu_build_on_a_machine_with_a_card_is_told_with_its_reason(
    workspace: Workspace, programs: Path, prefix: Path
) -> None:
    record = {
        "wanted": "cu130",
        "installed": "cpu",
        "reason": "The index was not reached.",
        "fix": "Go online.",
    }
    write_json(prefix / "lora-torch.json", record)
    one = finding(probe(workspace), "torch_build")
    assert one.state == "attention"
    assert "The index was not reached." in one.sentence
    assert one.fix == "Go online."


@pytest.mark.parametrize("text", ["", "[]", '{"reason": ""}', "{"])
def test_a_record_without_a_reason_says_nothing(
    workspace: Workspace, programs: Path, prefix: Path, text: str
) -> None:
    (prefix / "lora-torch.json").write_text(text, "utf-8")
    assert "torch_build" not in [f.key for f in probe(workspace).findings]


@pytest.mark.parametrize(
    ("facts", "version", "told"),
    [
        ({"device": "cpu", "build": "cpu"}, "2.13.0", "made for the processor alone"),
        ({"device": "cpu", "build": "cuda 13.0"}, "2.13.0+cu130", "does not answer it"),
        ({"device": "cuda", "build": "cuda 13.0"}, "2.13.0+cu130", ""),
        ({"error": "it is broken"}, "2.13.0+cpu", ""),
        (None, "2.13.0+cpu", "made for the processor alone"),
        (None, "2.13.0", ""),
    ],
)
def test_a_card_that_torch_does_not_use_is_told_in_any_environment(
    workspace: Workspace,
    programs: Path,
    prefix: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, object] | None,
    version: str,
    told: str,
) -> None:
    smi(programs, 'echo "NVIDIA RTX 9090, 580.95.05, 24564, 300"')
    monkeypatch.setattr(machine, "_installed", lambda _: version)
    if facts is not None:
        remember(workspace, facts)
    found = [one for one in probe(workspace).findings if one.key == "torch_build"]
    assert [(told in one.sentence, one.state, bool(one.fix)) for one in found] == (
        [(True, "attention", True)] if told else []
    )


def test_a_processor_build_that_the_user_wanted_is_no_complaint(
    workspace: Workspace, programs: Path, prefix: Path
) -> None:
    smi(programs, 'echo "NVIDIA RTX 9090, 580.95.05, 24564, 300"')
    write_json(prefix / "lora-torch.json", {"wanted": "cpu", "installed": "cpu", "reason": ""})
    remember(workspace, {"device": "cpu", "build": "cpu"})
    assert "torch_build" not in [one.key for one in probe(workspace).findings]


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("gib", "state"), [(0.5, "problem"), (5, "attention"), (50, "ok")])
def test_a_full_disk_is_a_problem_and_a_small_rest_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, gib: float, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 0, int(gib * 2**30)))
    found = probe(workspace)
    assert finding(found, "disk").state == state
    assert found.worst == ("problem" if state == "problem" else found.worst)


def test_a_workspace_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    assert "GiB free" in finding(probe(Workspace(tmp_path / "a" / "b")), "disk").value


def test_what_torch_said_is_shown_and_used_for_the_card(workspace: Workspace, programs: Path) -> None:
    remember(
        workspace, {"torch": "2", "device": "mps", "device_name": "the Apple graphics chip", "bf16": True}
    )
    found = probe(workspace)
    assert found.torch_known
    assert finding(found, "graphics").value == "the Apple graphics chip"
    assert "bf16 is fast" in finding(found, "torch").sentence


def test_a_torch_that_does_not_start_is_a_problem(workspace: Workspace) -> None:
    remember(workspace, {"error": "ImportError: libc is too old"})
    found = probe(workspace)
    assert found.worst == "problem"
    assert "libc is too old" in finding(found, "torch").sentence


def test_what_another_torch_said_no_longer_counts(workspace: Workspace) -> None:
    remember(workspace, {"torch": "1.0", "device": "cuda"}, version="1.0")
    assert read_facts(workspace) is None
    (workspace.root / "machine.json").write_text("rubbish", "utf-8")
    assert read_facts(workspace) is None


def test_torch_is_asked_in_a_process_of_its_own_and_the_answer_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_probe(workspace, {}, NullReporter())
    facts = read_json(workspace.root / "machine.json")["torch"]
    assert facts["device"] in {"cpu", "cuda", "mps"}
    assert isinstance(facts["bf16"], bool)
    assert probe(workspace).torch_known


def test_a_torch_that_ends_its_process_leaves_its_last_words(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'first' >&2\necho 'ImportError: last' >&2\nexit 1\n", "utf-8")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    run_probe(workspace, {}, NullReporter())
    assert read_facts(workspace) == {"error": "ImportError: last"}


def test_a_look_loads_neither_torch_nor_onnxruntime(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from lora_core import machine, workspace;"
        f"machine.probe(workspace.Workspace(Path({str(workspace.root)!r})));"
        "print(*{'torch', 'onnxruntime'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == []
