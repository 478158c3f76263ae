"""What every test run has in common: no network libraries that reach out, no workspace but a fresh one.

A test that needs what a machine may lack carries a marker and is skipped there with the reason.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import disks
import pytest

# Before any library reads them: nothing is fetched from a hub, and nothing is reported to one.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
# An empty cache of the hub, also in the processes that tests start: what the developer fetched decides
# nothing. It goes when this process ends.
_hub_cache = tempfile.TemporaryDirectory(prefix="empty-hub-cache-")
os.environ["HF_HUB_CACHE"] = _hub_cache.name
# One thread for the arithmetic of each process: several test processes share the machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A token or a port from the developer's own shell must not decide what a test sees.
for _name in (
    "LORA_TOKEN",
    "LORA_PORT",
    "LORA_LISTEN",
    "LORA_NO_TOKEN",
    "LORA_SHARE",
    "LORA_TORCH",
    "LORA_NOTIFY_URLS",
):
    os.environ.pop(_name, None)
for _name in ("LORA_HOST", "LORA_LOCKS"):
    os.environ.pop(_name, None)

# A shell in the background starts its programs deaf to Ctrl-C, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)

FOLDER_MARKERS = {"browser": pytest.mark.browser}
FOLDER_ORDER = ("unit", "app", "engines", "browser")


@pytest.fixture(scope="session", autouse=True)
def workspace_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workspace that code gets which asks for none: a fresh one, never the developer's own."""
    folder = tmp_path_factory.mktemp("workspace-of-this-run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_WORKSPACE", str(folder))
        patch.setenv("LORA_LOCAL_STATE", str(folder / "local state"))
        patch.setenv(
            "LORA_DEVICE_LOCKS", str(folder / "device locks")
        )  # or it waits for the developer's own run
        yield folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MB."""
    with disks.small(tmp_path / "small", "2m") as place:
        yield place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The quick ones first, and the browser last: Playwright keeps an event loop running in this
    # thread until the session ends, and a test that starts a loop of its own then cannot.
    items.sort(key=_place)
    for item in items:
        for folder, marker in FOLDER_MARKERS.items():
            if folder in item.path.parts:
                item.add_marker(marker)
        for name, reason in _missing().items():
            if item.get_closest_marker(name) and reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def _place(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return FOLDER_ORDER.index(folder) if folder in FOLDER_ORDER else len(FOLDER_ORDER)


def _missing() -> dict[str, str]:
    """For each marker, why its tests cannot run here; an empty text where they can."""
    return {
        "full": "" if os.environ.get("LORA_FULL") else "part of: python3 start.py test --full",
        "sd_scripts": "" if os.environ.get("LORA_SD_SCRIPTS") else "set LORA_SD_SCRIPTS to a checkout",
        "gpu": "" if _has_gpu() else "torch finds no GPU on this machine",
    }


def _has_gpu() -> bool:
    if (
        not any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg"))
        and os.name != "nt"
    ):
        return False  # without a device file torch need not be imported to know
    import torch

    return bool(torch.cuda.is_available())
