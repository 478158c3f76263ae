"""The Dataset page as a user meets it: import, edit in the table, come back tomorrow, undo."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image
from playwright.sync_api import FrameLocator, Locator, Page, expect

from lora_core.datasets.importing import import_dataset
from lora_core.workspace import Workspace
from ui import dataset_import

pytestmark = pytest.mark.browser


class AppServer(Protocol):
    """What these tests need of the server that `start_app` of conftest.py starts."""

    workspace: Path

    def start(self) -> None: ...
    def kill(self) -> None: ...


Visit = Callable[..., Page]
Axe = Callable[[Page], list[str]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        Image.effect_noise((200 + 40 * number, 160), 60).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture number {number}", "utf-8")
    (folder / "3.txt").unlink()
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def server(start_app: Callable[[], AppServer]) -> AppServer:
    return start_app()


@pytest.fixture(scope="module")
def dataset(server: AppServer, photos: Path) -> Path:
    """The pictures in the app: as the first test left them, or brought in here if it did not run."""
    folder = server.workspace / "datasets" / "pets"
    if not folder.exists():
        import_dataset(Workspace(server.workspace), photos, folder.name)
    return folder


def table(page: Page) -> FrameLocator:
    # The last: while a table is replaced, the old one stands in front of the new one for a moment.
    return page.locator("iframe[title*='st_aggrid']").last.content_frame


def caption(page: Page, row: int) -> str:
    cell = table(page).locator(f"[row-index='{row}'] [col-id='caption']")
    expect(cell).to_be_visible()
    return cell.inner_text()


def type_caption(page: Page, row: int, text: str) -> None:
    table(page).locator(f"[row-index='{row}'] [col-id='caption']").click()
    field = table(page).get_by_role("textbox")
    expect(field).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def from_home(visit: Visit, server: AppServer, **look: object) -> Page:
    """The page as one gets to it: by its link on Home."""
    page = visit(server, **look)
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Dataset").click()
    expect(page.get_by_role("heading", name="Dataset", level=1)).to_be_visible()
    return page


def opened(visit: Visit, server: AppServer, **look: object) -> Page:
    page = from_home(visit, server, **look)
    expect(page.get_by_role("button", name="Go on to training")).to_be_visible()
    return page


def test_a_folder_is_imported_through_the_page(visit: Visit, server: AppServer, photos: Path) -> None:
    page = from_home(visit, server)
    page.get_by_label(dataset_import.SOURCE).fill(str(photos))
    page.get_by_label("Name of the new dataset").fill("pets")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Bring the pictures in").click()
    expect(page.get_by_text("4 pictures and 3 captions were brought in")).to_be_visible()
    expect(page.get_by_text("1 file could not be used.")).to_be_visible()
    expect(table(page).get_by_role("img", name="Picture 0.png")).to_be_visible()
    assert table(page).get_by_role("img", name="Picture 0.png").evaluate("image => image.naturalWidth") > 0
    captions = (server.workspace / "datasets" / "pets").glob("*.txt")
    assert sorted(path.name for path in captions) == ["0.txt", "1.txt", "2.txt"]


def test_a_caption_edited_in_the_table_is_saved_and_can_be_undone_after_a_restart(
    visit: Visit, server: AppServer, dataset: Path
) -> None:
    page = opened(visit, server)
    type_caption(page, 1, "a grey cat, sitting")
    expect(page.get_by_text("Last change: the caption of 1.png.")).to_be_visible()
    assert (dataset / "1.txt").read_text("utf-8") == "a grey cat, sitting\n"
    type_caption(page, 3, "a second edit")
    expect(page.get_by_text("Last change: the caption of 3.png.")).to_be_visible()
    server.kill()
    server.start()
    page = opened(visit, server)
    assert caption(page, 1) == "a grey cat, sitting"
    assert caption(page, 3) == "a second edit"
    undo = page.get_by_role("button", name="Undo the last change")
    undo.click()
    expect(page.get_by_text("Last change: the caption of 1.png.")).to_be_visible()
    undo.click()
    expect(page.get_by_text("All your changes are undone.")).to_be_visible()
    expect(table(page).get_by_text("picture number 1")).to_be_visible()
    assert (dataset / "1.txt").read_text("utf-8") == "picture number 1"
    assert not (dataset / "3.txt").exists()


def test_two_quick_edits_are_both_saved(visit: Visit, server: AppServer, dataset: Path) -> None:
    page = opened(visit, server)
    type_caption(page, 0, "first of two")
    type_caption(page, 2, "second of two")
    expect(page.get_by_text("Last change: the caption of 2.png.")).to_be_visible()
    assert (dataset / "0.txt").read_text("utf-8") == "first of two\n"
    assert (dataset / "2.txt").read_text("utf-8") == "second of two\n"


def test_a_caption_is_changed_by_keyboard_alone(visit: Visit, server: AppServer, dataset: Path) -> None:
    page = opened(visit, server)
    expect(table(page).get_by_role("img", name="Picture 0.png")).to_be_visible()
    page.get_by_role("radio", name="Table").focus()
    field = table(page).get_by_role("textbox")
    for _ in range(6):  # into the table: its frame, its head, its first cell
        page.keyboard.press("Tab")
        if table(page).locator(".ag-cell:focus").count():
            break
    expect(table(page).locator("[row-index='0'] .ag-cell:focus")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(field).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("typed without a mouse")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Last change: the caption of 0.png.")).to_be_visible()
    assert (dataset / "0.txt").read_text("utf-8") == "typed without a mouse\n"


def axe_everywhere(page: Page, axe: Axe, source: str) -> list[str]:
    for frame in page.frames:
        frame.evaluate(source)  # axe looks into a frame only if it is there as well
    return axe(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_table_and_list(
    visit: Visit, server: AppServer, dataset: Path, axe: Axe, axe_source: str, theme: str
) -> None:
    page = opened(visit, server, theme=theme)
    expect(table(page).get_by_role("img", name="Picture 0.png")).to_be_visible()
    expect(table(page).get_by_role("grid", name="Pictures and their captions")).to_have_count(1)
    assert axe_everywhere(page, axe, axe_source) == []
    table(page).locator("[row-index='0'] [col-id='caption']").click()
    expect(table(page).get_by_role("textbox", name="Caption of 0.png")).to_be_focused()
    assert axe_everywhere(page, axe, axe_source) == []
    page.get_by_text("List (good for small windows").click()
    expect(page.get_by_label("Caption of 0.png")).to_be_visible()
    assert axe_everywhere(page, axe, axe_source) == []


def test_a_narrow_window_needs_no_sideways_scrolling(visit: Visit, server: AppServer, dataset: Path) -> None:
    page = opened(visit, server)
    page.set_viewport_size({"width": 320, "height": 800})
    check_width(page, page.locator("iframe[title*='st_aggrid']"))
    page.get_by_text("List (good for small windows").click()
    check_width(page, page.get_by_label("Caption of 0.png"))


def check_width(page: Page, last: Locator) -> None:
    expect(last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    main = page.get_by_test_id("stMain")
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 0
