"""The Dataset page in each of its states: empty, importing, imported, with problems, after an edit."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import page_words
import pytest
import textstat
from PIL import Image
from streamlit.testing.v1 import AppTest

from lora_core import demo, jobs
from lora_core.datasets.importing import import_dataset
from lora_core.datasets.index import open_index
from lora_core.datasets.journal import CaptionEdit, apply_edits
from lora_core.datasets.uploads import uploads
from lora_core.jobs.records import read_status, write_status
from lora_core.workspace import Workspace
from ui import layout
from ui.dataset_captions import LIST

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay queued: what the import does is tested with the import, how jobs run with the jobs."""
    monkeypatch.setattr("lora_core.jobs.control.ensure_runner", lambda *_: None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, caption in enumerate(["red cat", "blue dog", None]):
        Image.new("RGB", (40 + number, 30), (number * 80, 0, 0)).save(folder / f"{number}.png")
        if caption:
            (folder / f"{number}.txt").write_text(caption, "utf-8")
    return folder


def texts(app: AppTest) -> str:
    kinds = ("markdown", "caption", "error", "warning", "info", "success", "subheader")
    found = [element for kind in kinds for element in app.get(kind)]
    return "\n".join(f"{getattr(element, 'title', '') or ''} {element.value}" for element in found)


def primaries(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.proto.type == "primary"]


def end(job: jobs.Job, state: jobs.State, how: jobs.End) -> None:
    """Write down the end of a job that no process worked on."""
    write_status(job.folder, replace(read_status(job.folder), state=state, end=how))


def grid(app: AppTest) -> Any:
    return app.get("component_instance")


def test_an_empty_page_asks_for_pictures_with_one_main_button(open_page: Open) -> None:
    app = open_page(layout.DATASET)
    assert primaries(app) == ["Bring the pictures in"]
    assert "Nothing yet." in texts(app)
    assert not app.selectbox
    assert not grid(app)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "No folder or zip is named"),
        ("pictures", "only a part of a name"),
        ("~nobody-of-this-name/pictures", "only a part of a name"),
        ("/none/here", "There is no folder"),
    ],
)
def test_a_folder_that_cannot_be_imported_is_told_and_starts_nothing(
    ws: Workspace, open_page: Open, typed: str, says: str
) -> None:
    app = open_page(layout.DATASET)
    app.text_input(key="dataset_source").set_value(typed)
    app.button(key="dataset_import").click().run()
    assert says in app.warning[0].value
    assert not app.error, "nothing went wrong yet"
    assert jobs.jobs(ws) == []


def test_the_button_starts_one_import_of_what_was_typed(ws: Workspace, open_page: Open, photos: Path) -> None:
    app = open_page(layout.DATASET)
    app.text_input(key="dataset_source").set_value(f' "{photos}" ')
    app.text_input(key="dataset_name").set_value("My pets")
    app.button(key="dataset_import").click().run()
    (job,) = jobs.jobs(ws)
    assert (job.kind, job.name, job.params["name"]) == ("import", "My pets", "My pets")
    assert ws.absolute(job.params["source"]) == photos
    assert "waits to start" in texts(app)
    assert primaries(app) == []
    app.button(key="dataset_stop").click().run()
    assert jobs.status(ws, job.id).state == "stopped"
    assert primaries(app) == ["Bring the pictures in"]


def test_an_uploaded_zip_is_on_disk_at_once_and_can_be_taken_away(ws: Workspace, open_page: Open) -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.txt", "cat")
    app = open_page(layout.DATASET)
    app.file_uploader[0].upload("pets.zip", content.getvalue(), "application/zip").run()
    (kept,) = uploads(ws).glob("*/pets.zip")
    assert kept.read_bytes() == content.getvalue()
    assert "pets.zip is uploaded" in texts(app).replace("\\", "").replace("\u200b", "")
    app.button(key="dataset_drop").click().run()
    assert list(uploads(ws).iterdir()) == []


def test_an_upload_is_imported_under_its_own_name(ws: Workspace, open_page: Open) -> None:
    app = open_page(layout.DATASET)
    app.file_uploader[0].upload("pets.zip", b"PK", "application/zip").run()
    app.button(key="dataset_import").click().run()
    (job,) = jobs.jobs(ws)
    assert job.name == "pets"
    source = ws.absolute(job.params["source"])
    assert (source.name, source.parent.parent) == ("pets.zip", uploads(ws))


def test_an_imported_dataset_shows_its_pictures_and_one_main_button(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    import_dataset(ws, photos, "pets")
    app = open_page(layout.DATASET)
    assert app.selectbox(key="dataset").value == "pets"
    assert len(grid(app)) == 1
    assert "3 pictures" in texts(app)
    assert "1 picture has no caption" in texts(app)
    assert primaries(app) == ["Go on to training"]


def test_the_page_with_everything_on_it_is_easy_to_read(ws: Workspace, open_page: Open, photos: Path) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    (folder / "0.txt").write_bytes(b"")
    (folder / "bad.png").write_bytes(b"x")
    (folder / "a.gif").write_bytes(b"x")
    Image.new("L", (8, 8)).save(folder / "1.jpg")
    sentences = page_words.sentences(open_page(layout.DATASET))
    assert textstat.flesch_kincaid_grade(" ".join(sentences)) <= 8
    assert [sentence for sentence in sentences if len(sentence.split()) > 20] == []


def test_the_newest_dataset_is_open_and_the_address_names_another(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    for name in ("zebras", "ants"):
        import_dataset(ws, photos, name)
    assert open_page(layout.DATASET).selectbox(key="dataset").value == "ants"
    assert open_page(layout.DATASET, dataset="zebras").selectbox(key="dataset").value == "zebras"
    assert open_page(layout.DATASET, dataset="gone").selectbox(key="dataset").value == "ants"


def test_a_search_leaves_what_fits(ws: Workspace, open_page: Open, photos: Path) -> None:
    import_dataset(ws, photos, "pets")
    app = open_page(layout.DATASET)
    app.text_input(key="dataset_text").set_value("DOG").run()
    assert "1 of 3 pictures fit" in texts(app)
    app.text_input(key="dataset_text").set_value("bird").run()
    assert "0 of 3 pictures fit" in texts(app)
    assert not grid(app)


def test_what_is_wrong_with_a_dataset_is_told_in_order_of_weight(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    (folder / "0.txt").write_bytes(b"\xff")
    (folder / "bad.png").write_bytes(b"x")
    app = open_page(layout.DATASET)
    assert "1 caption cannot be read. Training stops" in texts(app)
    assert "1 picture is damaged. Training leaves it out." in texts(app)


def test_a_failed_import_says_why(ws: Workspace, open_page: Open, tmp_path: Path) -> None:
    job = jobs.create(ws, "import", "pets", {"source": "gone", "name": "pets"})
    end(job, "failed", jobs.End(cause="There is no folder.", fix="Check the name.", at=1.0))
    app = open_page(layout.DATASET)
    assert app.error[0].value.startswith("There is no folder")
    assert primaries(app) == ["Bring the pictures in"]


def test_a_finished_import_is_told_with_what_was_refused(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"x")
    job = jobs.create(ws, "import", "pets", {"source": "x", "name": "pets"})
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    end(job, "finished", jobs.End(cause="It is finished.", at=1.0, result=ws.relative(folder)))
    app = open_page(layout.DATASET)
    assert "3 pictures and 2 captions were brought in" in app.success[0].value
    assert "bad" in app.warning[0].value
    import_dataset(ws, photos, "others")
    app = open_page(layout.DATASET, dataset="others")
    assert not any("bad" in warning.value for warning in app.warning), "it stands beside its own pictures"


# --- captions ---------------------------------------------------------------------------------


def as_list(app: AppTest) -> AppTest:
    return app.radio(key="dataset_view").set_value(LIST).run()


def test_a_caption_changed_in_the_list_is_on_disk_and_can_be_undone_in_a_new_session(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    app = as_list(open_page(layout.DATASET))
    assert [area.value for area in app.text_area] == ["red cat", "blue dog", ""]
    app.text_area[2].set_value("a bird").run()
    assert (folder / "2.txt").read_text("utf-8") == "a bird\n"
    assert "the caption of 2.png. It was saved at" in texts(app).replace("\\", "").replace("\u200b", "")
    later = as_list(open_page(layout.DATASET))
    later.button(key="dataset_undo").click().run()
    assert not (folder / "2.txt").exists()
    assert [area.value for area in later.text_area] == ["red cat", "blue dog", ""]
    assert "All your changes are undone." in texts(later)
    later.button(key="dataset_redo").click().run()
    assert (folder / "2.txt").read_text("utf-8") == "a bird\n"


def test_a_caption_that_changed_under_the_page_is_kept_and_the_choice_is_shown(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    app = as_list(open_page(layout.DATASET))
    (folder / "0.txt").write_text("written elsewhere", "utf-8")
    app.text_area[0].set_value("mine").run()
    assert (folder / "0.txt").read_text("utf-8") == "written elsewhere"
    assert app.text_area[0].value == "written elsewhere"
    assert "1 caption to decide about" in texts(app)
    (mine,) = [button for button in app.button if button.label.startswith("Save your text")]
    mine.click().run()
    assert (folder / "0.txt").read_text("utf-8") == "mine\n"
    assert "decide about" not in texts(app)


def test_an_edit_by_another_program_is_shown_at_the_next_look(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    app = as_list(open_page(layout.DATASET))
    (folder / "0.txt").write_text("written elsewhere", "utf-8")
    app.run()
    assert app.text_area[0].value == "written elsewhere"


def test_a_picture_that_was_captioned_stays_in_the_list_of_those_without(
    ws: Workspace, open_page: Open, photos: Path
) -> None:
    import_dataset(ws, photos, "pets")
    app = as_list(open_page(layout.DATASET))
    app.checkbox(key="dataset_uncaptioned").check().run()
    assert [area.label.replace("\\", "").replace("\u200b", "") for area in app.text_area] == [
        "Caption of 2.png"
    ]
    app.text_area[0].set_value("a bird").run()
    assert [area.value for area in app.text_area] == ["a bird"]


def test_the_undo_of_yesterday_is_offered(ws: Workspace, open_page: Open, photos: Path) -> None:
    folder = ws.datasets / import_dataset(ws, photos, "pets").name
    with open_index(folder) as index:
        index.refresh()
        row = index.rows(1)[0]
        apply_edits(index, [CaptionEdit(name=row.name, caption="new", seen=row.revision)])
        index.db.execute("UPDATE journal SET at = at - 86400")
    app = open_page(layout.DATASET)
    assert "It was saved on" in texts(app)
    app.button(key="dataset_undo").click().run()
    assert (folder / "0.txt").read_text("utf-8") == "red cat"


def test_a_large_dataset_comes_in_pages(ws: Workspace, open_page: Open, tmp_path: Path) -> None:
    folder = ws.datasets / "many"
    folder.mkdir()
    for number in range(25):
        Image.new("L", (8, 8), number).save(folder / f"{number:03}.png")
    app = as_list(open_page(layout.DATASET))
    assert len(app.text_area) == 10
    app.number_input[0].set_value(3).run()
    assert app.text_area[0].label.replace("\\", "").replace("\u200b", "") == "Caption of 020.png"
    assert len(app.text_area) == 5


def test_a_dataset_of_several_folders_shows_the_pictures_of_each(ws: Workspace, open_page: Open) -> None:
    demo.create_demo(ws)
    app = open_page(layout.DATASET, dataset="demo")
    folders = app.selectbox(key="folder_of_demo")
    assert folders.options == ["concept", "ordinary"]
    assert "16 pictures." in texts(app)
    folders.set_value("ordinary").run()
    assert not app.exception
    assert "120 pictures." in texts(app)
