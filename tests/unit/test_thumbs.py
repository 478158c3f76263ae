"""Thumbnails, and the addresses that serve them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lora_core.datasets.index import open_index
from lora_core.datasets.library import dataset_folder, dataset_names, newest_dataset
from lora_core.datasets.thumbs import SIDE_PX, thumb_path, thumbnail
from lora_core.errors import DatasetError
from lora_core.workspace import Workspace
from ui.thumb_routes import picture_routes, preview_url, sample_url, thumb_url


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    folder = workspace.datasets / "my pets & more"
    folder.mkdir()
    Image.effect_noise((900, 300), 60).convert("RGB").save(folder / "wide.jpg")
    Image.new("RGBA", (50, 80), (255, 0, 0, 0)).save(folder / "clear.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return folder


def indexed(folder: Path, name: str) -> str:
    with open_index(folder) as index:
        index.refresh()
        return {row.name: row.digest for row in index.rows(1)}[name]


def test_a_thumbnail_keeps_the_shape_and_fits_its_side(folder: Path) -> None:
    path = thumbnail(folder, indexed(folder, "wide.jpg"))
    assert path is not None
    with Image.open(path) as small:
        assert (small.format, small.size) == ("WEBP", (SIDE_PX, SIDE_PX // 3))


def test_a_small_picture_is_not_enlarged_and_loses_its_transparency_as_in_training(folder: Path) -> None:
    path = thumbnail(folder, indexed(folder, "clear.png"))
    assert path is not None
    with Image.open(path) as small:
        assert (small.size, small.mode) == ((50, 80), "RGB")
        red, *_ = small.getpixel((5, 5))
        assert red > 200


def test_a_thumbnail_is_made_once(folder: Path) -> None:
    digest = indexed(folder, "wide.jpg")
    path = thumbnail(folder, digest)
    assert path is not None
    made = path.stat().st_mtime_ns
    assert thumbnail(folder, digest) == path == thumb_path(folder, digest)
    assert path.stat().st_mtime_ns == made


def test_a_picture_that_cannot_be_decoded_has_no_thumbnail_and_leaves_no_file(folder: Path) -> None:
    whole = (folder / "wide.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert thumbnail(folder, indexed(folder, "cut.jpg")) is None
    assert not (folder / ".lora" / "thumbs").exists() or not list((folder / ".lora" / "thumbs").rglob("*.*"))


@pytest.mark.parametrize("digest", ["", "0" * 64, "../../secret", "A" * 64, "0" * 63 + "/"])
def test_a_hash_that_no_picture_has_finds_nothing(folder: Path, digest: str) -> None:
    assert thumbnail(folder, digest) is None


def test_text_that_is_no_hash_never_becomes_part_of_a_path(folder: Path) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        thumb_path(folder, "../x")


# --- the list of datasets ---------------------------------------------------------------------


def test_datasets_are_the_visible_folders(workspace: Workspace, folder: Path) -> None:
    (workspace.datasets / ".import-1").mkdir()
    (workspace.datasets / "notes.txt").write_text("x", "utf-8")
    (workspace.datasets / "a").mkdir()
    if os.name != "nt":
        (workspace.datasets / os.fsdecode(b"caf\xe9")).mkdir()  # no page could show this name
    os.utime(folder, (1, 1))
    assert dataset_names(workspace) == ("a", folder.name)
    assert newest_dataset(workspace) == "a"
    assert dataset_folder(workspace, folder.name) == folder


@pytest.mark.parametrize("name", ["", ".", "..", "../datasets", ".import-1", "none"])
def test_a_name_that_is_not_in_the_list_is_refused(workspace: Workspace, folder: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="There is no dataset"):
        dataset_folder(workspace, name)


# --- the addresses ----------------------------------------------------------------------------


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    return TestClient(Starlette(routes=picture_routes(lambda: workspace)))


def test_a_thumbnail_is_served_to_be_kept_and_by_this_person_only(client: TestClient, folder: Path) -> None:
    digest = indexed(folder, "wide.jpg")
    answer = client.get(thumb_url(folder.name, digest))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.content == thumb_path(folder, digest).read_bytes()


def test_a_folder_in_a_dataset_has_thumbnails_and_nothing_beside_it_has(
    client: TestClient, folder: Path
) -> None:
    inner = folder / "odd name & more"
    inner.mkdir()
    Image.new("RGB", (40, 30)).save(inner / "one.png")
    digest = indexed(inner, "one.png")
    assert client.get(thumb_url(f"{folder.name}/{inner.name}", digest)).status_code == 200
    for other in ("none", "%2e%2e", ".lora", "."):
        assert client.get(f"/thumbs/{folder.name}/{other}/{digest}.webp").status_code == 404


def test_samples_and_previews_are_served_by_their_names(client: TestClient, workspace: Workspace) -> None:
    samples = workspace.jobs / "job 1" / "samples"
    samples.mkdir(parents=True)
    for path in (samples / "ünder 1.png", workspace.loras / "pets#1.png"):
        Image.new("RGB", (4, 4)).save(path)
    assert client.get(sample_url("job 1", "ünder 1.png")).status_code == 200
    answer = client.get(preview_url("pets#1.png"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert "immutable" not in answer.headers["cache-control"]


Address = Callable[[str], str]


@pytest.mark.parametrize(
    "address",
    [
        "/thumbs/{name}/../../secret.webp", "/thumbs/{name}/%2e%2e%2fsecret.webp", "/thumbs/../{digest}.webp",
        "/thumbs/%2e%2e/{digest}.webp", "/thumbs/none/{digest}.webp", "/thumbs/{name}/" + "0" * 64 + ".webp",
        "/samples/job/..%2f..%2fsecret.png", "/samples/%2e%2e/secret.png", "/samples/job/.hidden.png",
        "/samples/job/log.txt", "/samples/job/link.png", "/samples/none/a.png",
        "/previews/%2e%2e%2fsecret.png", "/previews/a.safetensors", "/previews/none.png", "/previews/..",
    ],
)  # fmt: skip
def test_an_address_cannot_lead_to_anything_else(
    client: TestClient, workspace: Workspace, folder: Path, address: str
) -> None:
    digest = indexed(folder, "wide.jpg")
    samples = workspace.jobs / "job" / "samples"
    samples.mkdir(parents=True)
    secrets = [workspace.root / "secret.png", workspace.root / "secret.webp", samples / ".hidden.png"]
    for path in (*secrets, samples / "log.txt", workspace.loras / "a.safetensors"):
        path.write_bytes(b"secret")
    try:
        (samples / "link.png").symlink_to(secrets[0])
    except OSError:
        (samples / "link.png").mkdir()
    answer = client.get(address.format(name=folder.name, digest=digest))
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_a_broken_dataset_answers_calmly(client: TestClient, folder: Path) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    (folder / ".lora").write_text("in the way", "utf-8")
    assert client.get(thumb_url(folder.name, digest)).status_code == 404
