"""Which torch build a machine gets, from where, and what is said when it is not the one it deserves."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher import torch_source
from launcher.graphics import Gpu, TorchChoice, choose, parse_nvidia_smi, read_amd_gpus
from launcher.torch_source import TorchInstalled, TorchSource, find_source, lists_wheel, record


def nvidia(capability: tuple[int, int] | None, driver: str = "580.95.05") -> Gpu:
    return Gpu(maker="nvidia", name="card", driver=driver, capability=capability)


@pytest.mark.parametrize(
    ("gpus", "build"),
    [
        ([], "cpu"),
        ([nvidia((8, 9))], "cu130"),
        ([nvidia((7, 5))], "cu130"),
        ([nvidia((12, 0))], "cu130"),
        ([nvidia((8, 6), "570.124.06")], "cu126"),
        ([nvidia((8, 6), "525.60.13")], "cu126"),
        ([nvidia((6, 1))], "cu126"),
        ([nvidia((7, 0))], "cu126"),
        ([nvidia((5, 0), "535.1")], "cu126"),
        ([nvidia((6, 1)), nvidia((8, 9))], "cu126"),
        ([nvidia((6, 1)), nvidia((12, 0))], "cu130"),
        ([nvidia(None, "535.1")], "cu126"),
        ([Gpu(maker="amd", name="AMD", chip="gfx1100")], "rocm7.2"),
        ([Gpu(maker="amd", name="AMD", chip="gfx1036"), nvidia((8, 9))], "cu130"),
        ([Gpu(maker="apple", name="Apple chip")], "default"),
    ],
)
def test_a_machine_gets_the_newest_build_that_all_its_parts_can_run(gpus: list[Gpu], build: str) -> None:
    chosen = choose("Linux", gpus, {})
    assert (chosen.build, chosen.reason) == (build, "")


@pytest.mark.parametrize(
    ("gpu", "reason", "fix"),
    [
        (nvidia((8, 6), "470.1"), "older than PyTorch", "driver 580"),
        (nvidia((12, 0), "570.1"), "needs driver 580", "driver 580"),
        (nvidia((3, 5), "580.1"), "older than every GPU", "CPU"),
        (nvidia(None, ""), "driver does not answer", "restart"),
        (Gpu(maker="amd", name="AMD", chip="gfx803"), "chip gfx803", "HSA_OVERRIDE_GFX_VERSION"),
        (Gpu(maker="amd", name="AMD", chip="gfx1100", reachable=False), "/dev/kfd", "usermod"),
    ],
)
def test_a_gpu_that_no_build_fits_gets_the_cpu_build_with_the_reason_and_a_fix(
    gpu: Gpu, reason: str, fix: str
) -> None:
    chosen = choose("Linux", [gpu], {})
    assert (chosen.build, chosen.wanted) == ("cpu", "gpu")
    assert reason in chosen.reason
    assert fix in chosen.fix


def test_the_user_can_name_the_build() -> None:
    assert choose("Linux", [nvidia((8, 9))], {"LORA_TORCH": "cpu"}).build == "cpu"


def test_a_chip_that_the_user_passes_off_as_another_is_believed() -> None:
    amd = Gpu(maker="amd", name="AMD", chip="gfx1031")
    assert choose("Linux", [amd], {}).build == "cpu"
    assert choose("Linux", [amd], {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}).build == "rocm7.2"


def test_nvidia_smi_lines_become_gpus_and_other_lines_do_not() -> None:
    cards = (
        "NVIDIA GeForce RTX 3060, 580.95.05, 8.6",
        "Tesla P40, 580.95.05, 6.1",
        "Quadro K620, 470.1, [N/A]",
    )
    text = "\n".join((*cards, "a warning"))
    assert [(gpu.name, gpu.driver, gpu.capability) for gpu in parse_nvidia_smi(text)] == [
        ("NVIDIA GeForce RTX 3060", "580.95.05", (8, 6)),
        ("Tesla P40", "580.95.05", (6, 1)),
        ("Quadro K620", "470.1", None),
    ]


@pytest.mark.parametrize(
    ("version", "chip"),
    [("90010", "gfx90a"), ("110000", "gfx1100"), ("100300", "gfx1030"), ("90402", "gfx942")],
)
def test_amd_chips_are_read_from_the_kernel(tmp_path: Path, version: str, chip: str) -> None:
    for node, lines in {
        "0": "cpu_cores_count 16\ngfx_target_version 0\n",
        "1": f"gfx_target_version {version}\n",
    }.items():
        (tmp_path / node).mkdir()
        (tmp_path / node / "properties").write_text(lines)
    assert [gpu.chip for gpu in read_amd_gpus(tmp_path, tmp_path / "no-device")] == [chip]


PAGE = """<a href="/whl/cu130/torch-2.13.0%2Bcu130-cp311-cp311-manylinux_2_28_x86_64.whl#sha256=1">torch</a>
<a href="/whl/cu130/torch-2.13.0%2Bcu130-cp312-cp312-win_amd64.whl">torch</a>
<a href="/whl/cu130/torch-2.12.0%2Bcu130-cp313-cp313-win_amd64.whl">torch</a>"""


@pytest.mark.parametrize(
    ("python", "system", "machine", "listed"),
    [
        ((3, 11), "Linux", "x86_64", True),
        ((3, 12), "Windows", "AMD64", True),
        ((3, 11), "Linux", "aarch64", False),
        ((3, 12), "Linux", "x86_64", False),
        ((3, 13), "Windows", "AMD64", False),
    ],
)
def test_only_the_exact_wheel_counts_as_listed(
    python: tuple[int, int], system: str, machine: str, listed: bool
) -> None:
    assert lists_wheel(PAGE, "cu130", python, system, machine) is listed


@pytest.fixture
def serve_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a page in the place of PyTorch's own index."""
    servers: list[ThreadingHTTPServer] = []

    def serve(page: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing in the test's output."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(torch_source, "PYTORCH_INDEX", f"http://127.0.0.1:{server.server_port}/whl")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_listed_wheel_is_asked_for_by_its_label_beside_pips_own_index(
    serve_page: Callable[[str], None],
) -> None:
    import sys

    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    serve_page(f"torch-2.13.0%2Bcu130-{tag}-{tag}-manylinux_2_28_x86_64.whl")
    source = find_source(TorchChoice(build="cu130"), "Linux", "x86_64")
    assert source.requirement == "torch==2.13.0+cu130"
    assert source.index.endswith("/whl/cu130")
    assert (source.note, source.need_gib) == ("", 9)


def test_an_index_without_the_wheel_leads_to_pips_own_index_with_a_word_about_it(
    serve_page: Callable[[str], None],
) -> None:
    serve_page("torch-2.12.0%2Bcu130-cp311-cp311-manylinux_2_28_x86_64.whl")
    source = find_source(TorchChoice(build="cu130"), "Linux", "x86_64")
    assert (source.requirement, source.index) == ("torch==2.13.0", "")
    assert "no cu130 build" in source.note


def test_an_index_that_does_not_answer_leads_to_pips_own_index_with_a_word_about_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_source, "PYTORCH_INDEX", "http://127.0.0.1:9/whl")
    source = find_source(TorchChoice(build="cpu"), "Linux", "x86_64")
    assert (source.requirement, source.index, source.need_gib) == ("torch==2.13.0", "", 3)
    assert "did not answer" in source.note


def test_a_cpu_build_on_a_machine_with_a_gpu_is_recorded_with_what_to_do() -> None:
    choice = TorchChoice(build="cu130", gpu="RTX 3060")
    source = TorchSource(requirement="torch==2.13.0", note="PyTorch's own package index did not answer.")
    found = record(choice, source, TorchInstalled(version="2.13.0+cpu", build="cpu", gpu_answers=False))
    assert (found["wanted"], found["installed"], found["gpu"]) == ("cu130", "cpu", "RTX 3060")
    assert "did not answer" in found["reason"]
    assert "python3 start.py --setup-only" in found["fix"]


def test_a_gpu_build_that_answers_is_recorded_without_a_complaint() -> None:
    choice, source = (
        TorchChoice(build="cu130", gpu="RTX 3060"),
        TorchSource(requirement="torch==2.13.0+cu130"),
    )
    found = record(choice, source, TorchInstalled(version="2.13.0+cu130", build="cu130", gpu_answers=True))
    assert (found["installed"], found["reason"], found["fix"]) == ("cu130", "", "")


def test_a_gpu_build_whose_gpu_does_not_answer_is_said() -> None:
    choice, source = (
        TorchChoice(build="cu130", gpu="RTX 3060"),
        TorchSource(requirement="torch==2.13.0+cu130"),
    )
    found = record(choice, source, TorchInstalled(version="2.13.0+cu130", build="cu130", gpu_answers=False))
    assert "does not answer" in found["reason"]
    assert "driver" in found["fix"]
