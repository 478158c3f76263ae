"""From an exit code and a log to a cause in plain words."""

import signal
from pathlib import Path

import pytest

from lora_core.jobs.explain import explain, last_traceback, signal_name
from lora_core.jobs.log import tail

TRACE = """Traceback (most recent call last):
  File "train.py", line 10, in train
    loss.backward()
{}""".splitlines()


def trace(last: str) -> list[str]:
    return [*TRACE[:-1], last]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has",
            "graphics card ran out",
        ),
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
            "graphics card ran out",
        ),
        ("RuntimeError: MPS backend out of memory (MPS allocated: 8 GB)", "graphics card ran out"),
        ("RuntimeError: DataLoader worker (pid 123) is killed by signal: Killed.", "main memory ran out"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "main memory ran out"),
        ("MemoryError", "main memory ran out"),
        ("OSError: [Errno 12] Cannot allocate memory", "main memory ran out"),
        ("OSError: [Errno 28] No space left on device: '/x/y'", "disk is full"),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "too old"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "reported an error"),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
            "not complete",
        ),
        ("ModuleNotFoundError: No module named 'bitsandbytes'", "package"),
        ("PermissionError: [Errno 13] Permission denied: '/x/y'", "could not be written"),
    ],
)
def test_a_known_error_has_its_cause_its_evidence_and_a_fix(line: str, cause: str) -> None:
    told = explain(1, ["step 1", *trace(line), "some last word"])
    assert cause in told.cause
    assert told.evidence == line
    assert told.fix
    assert told.known


@pytest.mark.parametrize("code", [-9, 137])
def test_a_kill_by_the_system_is_told_as_such(code: int) -> None:
    told = explain(code, ["step 1", "step 2"])
    assert told.cause == "It was stopped by the system, often for lack of memory."
    assert told.evidence == f"step 1\nstep 2\nexit code {code} (SIGKILL)"


def test_a_crash_in_native_code_is_told_as_such() -> None:
    assert "native code" in explain(-int(signal.SIGSEGV), []).cause


def test_an_unknown_error_says_so_and_shows_its_traceback() -> None:
    told = explain(1, ["step 1", *trace("KeyError: 'moon'")])
    assert not told.known
    assert told.evidence == "\n".join(trace("KeyError: 'moon'"))


def test_a_harmless_word_in_the_log_is_not_taken_for_the_cause_of_another_error() -> None:
    log = ["No space left on device was handled, going on", *trace("KeyError: 'moon'")]
    assert not explain(1, log).known


def test_of_several_tracebacks_the_last_counts() -> None:
    log = [*trace("ValueError: first"), "going on", *trace("KeyError: 'second'"), "bye"]
    assert last_traceback(log)[-1] == "KeyError: 'second'"


def test_a_restart_of_the_computer_is_the_cause_whatever_the_log_says() -> None:
    assert "restarted" in explain(None, trace("KeyError: 'moon'"), restarted=True).cause


def test_a_silent_end_is_called_one() -> None:
    assert "code 3" in explain(3, []).cause
    assert "nobody saw how" in explain(None, []).cause


@pytest.mark.parametrize(("code", "name"), [(None, ""), (0, ""), (1, ""), (-15, "SIGTERM"), (143, "SIGTERM")])
def test_a_signal_is_read_from_the_exit_code(code: int | None, name: str) -> None:
    assert signal_name(code) == name


# --- the log ----------------------------------------------------------------------------------------


def test_the_end_of_a_log_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"one\r\ntwo\nthree")
    assert tail(tmp_path / "train.log", 2) == ["two", "three"]
    assert tail(tmp_path / "train.log", 10) == ["one", "two", "three"]


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert tail(tmp_path / "train.log") == []


def test_a_progress_bar_shows_only_its_last_form(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"start\nsteps:  0%\rsteps: 50%\r\x1b[32msteps: 100%\x1b[0m\nend\n")
    assert tail(tmp_path / "train.log") == ["start", "steps: 100%", "end"]


def test_a_huge_log_costs_no_more_than_its_end(tmp_path: Path) -> None:
    with (tmp_path / "train.log").open("wb") as file:
        file.truncate(5_000_000_000)  # sparse: no disk is used
        file.seek(0, 2)
        file.write(b"\nlast but one\nlast\n")
    assert tail(tmp_path / "train.log", 2) == ["last but one", "last"]


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"\xff\xfe\nfine\n")
    assert tail(tmp_path / "train.log")[-1] == "fine"


def test_secrets_of_the_environment_and_tokens_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-very-secret-value")
    monkeypatch.setenv("WANDB_API_KEY", "another-secret-value")
    (tmp_path / "train.log").write_text(
        "token=a-very-secret-value\nkey another-secret-value\nseen hf_abcdefghijklmnopqrst\n"
    )
    text = "\n".join(tail(tmp_path / "train.log"))
    assert "secret" not in text
    assert "hf_abc" not in text
    assert text.count("[hidden]") == 3
