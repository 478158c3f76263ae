"""Every setting of the built-in engine acts, or changes speed and memory only: twin runs on a tiny model.

The tables are held against the catalogue: a setting that is in none of them makes a test fail.
"""

from collections.abc import Iterator
from pathlib import Path

import acts_network_rig as network
import acts_sample_rig as sample
import pytest
from acts_rig import Act, Twins
from trainer_rig import Rig

ACTS: dict[str, Act] = {
    **sample.MODEL,
    **sample.TEXT,
    **sample.LOSS,
    **sample.BATCH,
    **sample.PRECISION,
    **network.NETWORK,
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[Twins]:
    with pytest.MonkeyPatch.context() as patch:
        # What this machine lacks is refused elsewhere; here 8 bits are worked with on a CPU too.
        patch.setattr("lora_core.engines.diffusers.trainer.device_problems", lambda _run: [])
        yield Twins(Rig(tmp_path_factory.mktemp("twins"), base_model))


@pytest.mark.parametrize("key", ACTS)
def test_a_setting_does_what_it_says(key: str, twins: Twins) -> None:
    act = ACTS[key]
    act.shows(*twins.of(key, act))
