"""The benchmarks: what a record says, what is read from trainers, and that each is documented.

Not covered: the figures themselves; docs/benchmarks.md has the last ones.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import demo_training, training_step
from benchmarks.__main__ import BENCHMARKS, load, main
from benchmarks.live_bytes import counting
from benchmarks.machine import ROOT
from benchmarks.processes import CannotMeasureError, Finished, Line, watched
from benchmarks.record import UNAVAILABLE, Measurement, emit
from benchmarks.sd_scripts import checkout
from benchmarks.trainers import BARE, OURS, Case, Place, bar_times, settings, timed, write_files
from lora_core.settings import load_run

DOCS = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
CASE = Case(family="sd1", size=64, batch=2, rank=8, dtype="bf16", steps=3)


def options_of(name: str, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    load(name).add_options(parser)
    return parser.parse_args(arguments)


# --- records ------------------------------------------------------------------------------------


def test_the_median_counts_and_not_one_slow_turn() -> None:
    assert Measurement(name="a", what="w", unit="s", values=[1.0, 9.0, 2.0]).value == 2.0


def test_a_ratio_above_one_means_that_ours_takes_less() -> None:
    found = Measurement(
        name="a", what="w", unit="s", values=[2.0], against="b", against_values=[1.0, 4.0, 6.0]
    )
    assert found.ratio == 2.0


@pytest.mark.parametrize(("target", "met"), [(2.0, True), (1.9, False), (None, None)])
def test_a_target_is_met_up_to_its_very_value(target: float | None, met: bool | None) -> None:
    assert Measurement(name="a", what="w", unit="s", values=[2.0], target=target).met is met


@pytest.mark.parametrize(("target", "ratio", "met"), [(2.0, 1.5, True), (2.0, 1.6, False), (1.0, 1.5, False)])
def test_of_two_targets_both_have_to_be_met(target: float, ratio: float, met: bool) -> None:
    found = Measurement(
        name="a",
        what="w",
        unit="s",
        values=[2.0],
        against="b",
        against_values=[3.0],
        target=target,
        target_ratio=ratio,
    )
    assert found.met is met


def test_an_alternative_that_could_not_be_run_counts_as_a_missed_target() -> None:
    found = Measurement(name="a", what="w", unit="s", values=[1.0], against=UNAVAILABLE, target_ratio=1.0)
    assert (found.ratio, found.met) == (None, False)


def test_a_measurement_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        Measurement(name="a", what="w", unit="s", values=[])


def test_a_record_is_one_json_line_with_every_value_and_the_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit(Measurement(name="a", what="w", unit="s", values=[1.0, 2.0], target=1.6, settings={"steps": 3}))
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    record = json.loads(line)
    assert (record["value"], record["values"], record["met"]) == (1.5, [1.0, 2.0], True)
    assert record["settings"] == {"steps": 3}
    assert record["machine"]["torch"] == torch.__version__
    assert record["machine"].keys() >= {"cpu", "cores", "threads", "commit", "load_average", "gpu"}
    assert "target at most 1.6 s; met" in printed.err


# --- what is read from other programs -----------------------------------------------------------


def test_a_watched_process_gives_its_lines_with_their_times_and_its_memory() -> None:
    ended = watched(
        [sys.executable, "-c", r"print('one\rtwo'); block = b'x' * 50_000_000; print(len(block))"]
    )
    assert [line.text for line in ended.lines] == ["one", "two", "50000000"]
    assert ended.started <= ended.lines[0].time <= ended.ended
    assert ended.peak_memory_mb > 50


def test_a_process_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(CannotMeasureError, match=r"(?s)code 3.*no such model"):
        watched([sys.executable, "-c", "print('no such model'); raise SystemExit(3)"])


def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CannotMeasureError, match="more than 1 s"):
        watched([sys.executable, "-c", "import threading; threading.Event().wait()"], timeout_s=1)


def test_the_bar_of_sd_scripts_tells_when_each_step_was_first_seen_as_done() -> None:
    texts = (
        (0.0, "steps:   0%|          | 0/3 [00:00<?, ?it/s]"),
        (5.0, "steps:  33%|###3      | 1/3 [00:05<00:10,  5.00s/it]"),
        (5.1, "steps:  33%|###3      | 1/3 [00:05<00:10,  5.05s/it, avr_loss=1.09]"),
        (7.0, "validation steps: 100%|####| 4/4 [00:01<00:00,  4.00it/s]"),
        (8.0, "steps:  67%|######6   | 2/3 [00:08<00:04,  4.00s/it, avr_loss=1.09]"),
    )
    assert bar_times([Line(time, text) for time, text in texts]) == {1: 5.0, 2: 8.0}


def test_a_trainers_steps_are_counted_from_end_to_end() -> None:
    ended = Finished(100.0, 150.0, 7.0, [Line(149.0, "benchmark peak GPU bytes: 5000000")])
    seen = timed(ended, {2: 123.0, 1: 120.0, 3: 127.0})
    assert (seen.first_step_s, seen.steps_s) == (20.0, [3.0, 4.0])
    assert (seen.memory_mb, seen.gpu_memory_mb) == (7.0, 5.0)
    with pytest.raises(CannotMeasureError, match="two steps"):
        timed(ended, {1: 120.0})


def test_the_demos_times_come_from_its_records(tmp_path: Path) -> None:
    records = [{"kind": "start", "time": 110.0}]
    records += [{"kind": "step", "step": n, "step_s": float(n), "time": 120.0 + n} for n in (1, 2, 3)]
    (tmp_path / "progress.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    seen = demo_training.times(Finished(100.0, 130.0, 0.0), tmp_path)
    assert seen == demo_training.Times(training=13.0, first_step=21.0, step=2.0, total=30.0)


def test_a_missing_checkout_of_sd_scripts_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotMeasureError, match="set LORA_SD_SCRIPTS"):
        checkout({})
    with pytest.raises(CannotMeasureError, match=r"no train_network\.py"):
        checkout({"LORA_SD_SCRIPTS": str(tmp_path)})


# --- what is measured ---------------------------------------------------------------------------


def test_without_a_gpu_the_small_case_is_measured_in_both_dtypes_and_with_one_the_real_ones() -> None:
    cpu = [case.name for case in training_step.cases(options_of("training_step"), gpu=False)]
    assert cpu == ["sd1_256px_b2_r8_fp32", "sd1_256px_b2_r8_bf16"]
    gpu = [case.name for case in training_step.cases(options_of("training_step"), gpu=True)]
    assert gpu == [
        "sd1_512px_b1_r16_bf16",
        "sd1_512px_b4_r16_bf16",
        "sdxl_1024px_b1_r16_bf16",
        "sdxl_1024px_b4_r16_bf16",
    ]


def test_our_trainer_reads_the_files_that_sd_scripts_gets(tmp_path: Path) -> None:
    pictures = tmp_path / "2" / "64"
    pictures.mkdir(parents=True)
    place = Place(base=tmp_path, pictures=pictures, work=tmp_path)
    wanted = settings(CASE, place)
    del wanted["torch_compile"]  # ours has it only once it is of use
    run = load_run(*write_files(place, wanted))
    assert (run.network.network_dim, run.precision.mixed_precision, run.schedule.max_train_steps) == (
        8,
        "bf16",
        3,
    )
    (dataset,) = run.dataset.datasets
    assert (dataset.resolution, dataset.batch_size) == ((64, 64), 2)


def test_a_left_out_trainer_has_a_record_where_there_is_a_target_for_it() -> None:
    ours, bare = (training_step.Timed(9.0, [step] * 3, 1.0, None) for step in (2.0, 4.0))
    turns = training_step.Turns(CASE, {OURS: [ours], BARE: [bare]}, {"sd-scripts": "no checkout"})
    figure, *_ = training_step.figures(1, gpu=False)
    against_bare, left_out = turns.measurements(figure, {"tiny": False})
    assert (against_bare.ratio, against_bare.met) == (2.0, True)
    assert (left_out.against, left_out.met, left_out.settings["why"]) == (UNAVAILABLE, False, "no checkout")


def test_live_bytes_count_what_is_alive_and_the_most_that_was() -> None:
    with counting() as live:
        first = torch.empty(1000, dtype=torch.float32)
        view = first.view(10, 100)
        second = first * 2
        assert live.now == 8000
        del second
        assert (live.now, live.peak) == (4000, 8000)
        del first
        assert live.now == 4000, "the view still needs it"
        del view
        assert live.now == 0


# --- the commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_what_it_measures_and_is_in_the_docs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert (load(name).__doc__ or "x").splitlines()[0] in said
    assert f"python -m benchmarks {name}" in DOCS
    options = set(re.findall(r"--[a-z-]+", said)) - {"--help"}
    assert {option for option in options if f"`{option}" not in DOCS} == set()


def test_the_list_of_benchmarks_names_them_all_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from benchmarks.__main__ import main; main([])\n"
        "assert not {'torch', 'diffusers', 'playwright', 'streamlit'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(BENCHMARKS)
