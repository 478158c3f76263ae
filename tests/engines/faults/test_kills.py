"""SIGKILL at the app, the runner, the engine and all of them: afterwards nothing is lost and nothing lies."""

from collections.abc import Iterator

import kill_rig
import pytest
from kill_rig import SAVE_EVERY, STEPS, Training, kills

pytestmark = [
    pytest.mark.skipif(not kill_rig.posix(), reason="kills processes the POSIX way"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

KILLS = 8
"""In each run; the last bits of it must still be those of a run that nobody touched."""
MORE_SEEDS = (2, 3, 4, 5)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The losses of the run when nothing happens to it."""
    training = Training.start(tmp_path_factory.mktemp("untouched"))
    training.until_finished()
    training.close()
    losses = training.losses()
    assert [step for step, _ in losses] == list(range(1, STEPS + 1))
    return losses


@pytest.fixture
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    started = Training.start(tmp_path_factory.mktemp("killed"))
    yield started
    started.close()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in MORE_SEEDS)])
def test_eight_kills_cost_no_run_no_file_and_no_bit(
    seed: int, training: Training, untouched: list[tuple[int, float]]
) -> None:
    for kill in kills(seed, KILLS):
        training.suffer(kill)
    status = training.until_finished()
    print(f"seed {seed}, {status.attempt} attempts:", *training.done, sep="\n  ")  # noqa: T201  the report of a long suite
    assert training.losses() == untouched, training.done
    training.no_file_is_broken()
    (lora,) = training.ws.loras.glob("*.safetensors")
    assert status.end is not None
    assert status.end.result == training.ws.relative(lora)
    left = [path.name for path in training.job.folder.glob("states/*-state")]
    assert len(left) <= 2 + 1, f"states every {SAVE_EVERY} steps, of which the last two are kept: {left}"
    assert not list(training.job.folder.glob("**/.*.part"))


def test_the_kills_of_every_seed_meet_every_process_at_a_step_and_inside_a_save() -> None:
    drawn = [kill for seed in (1, *MORE_SEEDS) for kill in kills(seed, KILLS)]
    assert len(drawn) == 40
    assert {(kill.target, kill.in_save) for kill in drawn} == {
        (target, in_save) for target in kill_rig.TARGETS for in_save in (False, True)
    }
