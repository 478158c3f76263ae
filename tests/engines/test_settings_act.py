"""Every setting of the built-in engine acts, or changes speed and memory only: twin runs on a tiny model.

The tables are held against the catalogue: a setting that is in none of them makes a test fail.
"""

from collections.abc import Iterator
from pathlib import Path

import acts_data_rig as data
import acts_network_rig as network
import acts_rates_rig as rates
import acts_sample_rig as sample
import pytest
import torch
from acts_rig import Act, Twins
from changed_rig import OWN
from trainer_rig import Rig

from lora_core.settings import BUILT_IN, differences, no_effect, setting, value_in

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
"""diffusers' samplers and a newer numpy."""

TABLES: tuple[dict[str, Act], ...] = (
    sample.MODEL, sample.TEXT, sample.LOSS, sample.BATCH, sample.PRECISION, network.NETWORK, rates.OPTIMIZER,
    rates.SCHEDULE, data.DATASET, data.SUBSET, data.SAVING, data.SAMPLING, data.VALIDATION, data.NOTES,
)  # fmt: skip
ACTS: dict[str, Act] = {key: act for table in TABLES for key, act in table.items()}
READ_BY_THE_APP_ONLY: dict[str, str] = {}
"""Settings that the engine does not read, each with the reason. There is none."""


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Iterator[Twins]:
    with pytest.MonkeyPatch.context() as patch:
        # What this machine lacks is refused elsewhere; here 8 bits are worked with on a CPU too.
        patch.setattr("lora_core.engines.diffusers.trainer.device_problems", lambda _run: [])
        rates.write_stand_ins(stand_ins := tmp_path_factory.mktemp("stand ins"))
        patch.syspath_prepend(stand_ins)
        yield Twins(Rig(tmp_path_factory.mktemp("twins"), base_model))


def test_each_setting_is_in_one_table() -> None:
    listed = [*(key for table in TABLES for key in table), *data.SPEED_ONLY, *READ_BY_THE_APP_ONLY]
    assert sorted(listed) == sorted(s.key for s in OWN)


@pytest.mark.parametrize("key", ACTS)
def test_a_setting_does_what_it_says(key: str, twins: Twins) -> None:
    act = ACTS[key]
    one, other = twins.of(key, act)
    assert {each.setting.key for each in differences(one.run, other.run)} == {key}
    assert not other.refused
    act.shows(one, other)


@pytest.mark.parametrize("key", data.SPEED_ONLY)
def test_a_setting_of_speed_or_memory_changes_no_number(key: str, twins: Twins) -> None:
    _, act = data.SPEED_ONLY[key]
    one, other = twins.of(key, act)
    torch.testing.assert_close(one.losses, other.losses, rtol=1e-5, atol=0)
    act.shows(one, other)


@pytest.mark.parametrize("key", ACTS)
def test_a_form_does_not_hide_a_setting_where_it_acts(key: str, twins: Twins) -> None:
    _, other = twins.of(key, ACTS[key])
    assert key not in no_effect(value_in(other.run), BUILT_IN, setting(key).families[0])
