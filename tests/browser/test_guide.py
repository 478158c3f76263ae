"""The four steps in a real browser: by keyboard alone, recipes and runs out and in, axe in both themes."""

import re
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import made_runs as made
import pytest
from app_server import AppServer, Theme, drawn
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from lora_core import jobs, models, projects, runs
from lora_core.workspace import Workspace
from ui import guide_files, guide_recipe, guide_steps, project, run_actions

Visit = Callable[..., Page]
Objections = Callable[[Page], list[str]]
THEMES: tuple[Theme, ...] = ("light", "dark")
OPEN = project.NEW.replace(" ", "-")  # as a browser names the open project's fields
TYPED = {
    "network_dim": "12",
    "network_alpha": "6.5",
    "learning_rate": "0,00031",
    "unet_lr": "2.5e-4",
    "max_grad_norm": "0.75",
    "lr_warmup_steps": "0.07",
    "seed": "987654321",
    "noise_offset": "0.0357",
    "min_snr_gamma": "4.25",
    "gradient_accumulation_steps": "3",
}
"""Ten advanced values as an expert types them."""


def pictures(ws: Workspace) -> Path:
    folder = ws.datasets / "pets"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a shape")
    return folder


@pytest.fixture
def server(start_app: Callable[[], AppServer]) -> AppServer:
    """A server whose workspace has one small dataset and no project."""
    started = start_app()
    ws = Workspace.open(started.workspace)
    made.machine(ws)
    pictures(ws)
    return started


def fill(server: AppServer) -> None:
    """A project in which all is chosen."""
    ws = Workspace.open(server.workspace)
    start = projects.load_or_new(ws, project.NEW)
    values = {
        "pretrained_model_name_or_path": models.DEMO_BASE,
        "image_dir": ws.datasets / "pets",
        "metadata_trigger_phrase": "zork",
    }
    bare = projects.with_values(start, values)
    found = guide_recipe.chosen(ws, bare, guide_recipe.replace(bare, goal="concept"))
    project.save(ws, found.project)


def to(page: Page, wanted: Locator) -> None:
    """Press Tab until `wanted` has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never reached {wanted}")


def press(page: Page, name: str) -> None:
    to(page, page.get_by_role("button", name=name))
    page.keyboard.press("Enter")


def pick(page: Page, label: str, text: str) -> None:
    to(page, page.get_by_role("combobox", name=re.compile(label)))
    page.keyboard.type(text)
    expect(page.get_by_role("option", name=re.compile(text)).first).to_be_visible()
    page.keyboard.press("Enter")


WATCH = """
    for (const [event, name] of [["pointerdown", "presses"], ["keydown", "keys"]])
        addEventListener(event, seen => {
            if (seen.isTrusted) sessionStorage.setItem(name, 1 + Number(sessionStorage.getItem(name)));
        }, true);
"""


def watched(page: Page) -> Page:
    """The page, loaded anew: from now on it counts what mouse and keyboard do, over all its addresses."""
    page.add_init_script(WATCH)
    page.reload()
    drawn(page)
    return page


def counted(page: Page) -> dict[str, int]:
    found = "name => Number(sessionStorage.getItem(name))"
    return {name: page.evaluate(found, name) for name in ("presses", "keys")}


def at_step(page: Page, number: int) -> None:
    expect(page.get_by_text(f"Step {number} of 4")).to_be_visible()
    drawn(page)


@pytest.mark.timeout(600)
def test_a_newcomer_starts_the_demo_with_six_clicks_at_most_and_types_nothing(
    start_app: Callable[[], AppServer], visit: Visit
) -> None:
    server = start_app()
    page = watched(visit(server))
    assert page.url.removeprefix(server.url) == "/"
    while "run=" not in page.url:  # the main button of each screen, whatever it is called
        assert counted(page)["presses"] < 6
        before = page.url
        page.locator('[data-testid^="stBaseButton-primary"]').click()
        expect(page).not_to_have_url(before)
        drawn(page)
    expect(page.get_by_text("Training “demo” is running.").first).to_be_visible(timeout=300_000)
    hands, ws = counted(page), Workspace(server.workspace)
    assert 1 <= hands["presses"] <= 6
    assert hands["keys"] == 0
    (job,) = jobs.jobs(ws, kind="train")
    assert jobs.status(ws, job.id).state == "running"
    assert projects.changed_from_preset(projects.load(ws, "Demo")) == []
    jobs.stop(ws, job.id, force=True)
    assert jobs.wait(ws, job.id, 120).ended


@pytest.mark.timeout(600)
def test_one_gets_through_the_steps_to_a_started_training_by_keyboard_alone(
    server: AppServer, visit: Visit
) -> None:
    page = watched(visit(server, "/Training"))
    at_step(page, 1)
    to(page, page.get_by_role("radio", name=re.compile("Character")))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.get_by_text("images work best")).to_be_visible()
    name = page.get_by_role("textbox", name="Name of the LoRA file")
    to(page, name)
    page.keyboard.press("Control+a")
    page.keyboard.type("Blip")
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Trigger word")).to_have_value("blip")
    on_to_the_review(page)
    expect(page.get_by_text("This training takes")).to_be_visible()
    page.go_back()
    at_step(page, 3)
    page.go_forward()
    at_step(page, 4)
    press(page, run_actions.START)
    page.wait_for_url(re.compile("run="))
    (job,) = jobs.jobs(Workspace(server.workspace), kind="train")
    assert job.name == "Blip"
    assert len(runs.prompts_of(job)) == 4  # the way back and forth lost nothing
    expect(page.get_by_role("button", name=run_actions.STOP)).to_be_visible()
    hands = counted(page)
    assert hands["presses"] == 0
    assert hands["keys"] > 10
    jobs.stop(Workspace(server.workspace), job.id, force=True)  # or it trains beside the tests that follow
    assert jobs.wait(Workspace(server.workspace), job.id, 120).ended


def open_box(page: Page, title: str) -> None:
    page.get_by_test_id("stMain").locator("summary").filter(has_text=title).first.click()
    drawn(page)


def search(page: Page, key: str) -> Locator:
    box = page.get_by_role("searchbox").or_(page.get_by_label("Search the settings by name or meaning"))
    box.first.fill(key)
    box.first.press("Enter")
    return page.locator(
        f".st-key-run_{OPEN}_{key} input"
    ).first  # at once: what is typed meanwhile must be kept


def what_shall_be_done(page: Page, what: str) -> None:
    if not page.get_by_text(what).is_visible():
        open_box(page, "Recipes from files")
    page.get_by_text(what).click()
    drawn(page)


def take_recipe(page: Page, path: Path) -> bytes:
    what_shall_be_done(page, guide_files.TAKE)
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download the recipe").click()
    coming.value.save_as(path)
    return path.read_bytes()


def take_zip(page: Page, path: Path) -> dict[str, bytes]:
    """The zip of the whole run, saved at `path`: each file in it."""
    what_shall_be_done(page, guide_files.TAKE)
    page.get_by_role("button", name="Make a zip of the run").click()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download the zip").click()
    coming.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put_in(page: Page, file: Path) -> None:
    what_shall_be_done(page, guide_files.BRING)
    page.locator('input[type="file"]').set_input_files(file)
    expect(page.get_by_role("heading", name=re.compile("Taken as it is: [1-9]"))).to_be_visible()
    page.get_by_role("button", name="Put this recipe into the form").click()
    expect(page.get_by_text(f"The recipe of {file.name} was put in.")).to_be_visible()


@pytest.fixture
def start_clean(start_app: Callable[[], AppServer]) -> Callable[[], AppServer]:
    """Starts servers whose workspaces have nothing."""

    def start() -> AppServer:
        started = start_app()
        made.machine(Workspace.open(started.workspace))
        return started

    return start


@pytest.fixture
def expert(server: AppServer, visit: Visit) -> Page:
    """The review, where somebody typed ten values, loaded the page anew, and found them."""
    fill(server)
    page = visit(server, "/Training?step=review")
    open_box(page, "All settings")
    for key, text in TYPED.items():
        field = search(page, key)
        expect(field).to_be_visible()
        assert field.input_value() != text, "it is a change"
        field.fill(text)
        field.press("Enter")
        expect(
            page.locator(f"[data-testid=stVerticalBlock]:has(> .st-key-run_{OPEN}_{key})").get_by_text(
                "Changed."
            )
        ).to_be_visible()
    page.reload()
    drawn(page)
    open_box(page, "All settings")
    for key, text in TYPED.items():
        expect(search(page, key)).to_have_value(text)
    return page


def on_to_the_review(page: Page) -> None:
    """From the first step, by keyboard: the demo's base model and the dataset pets."""
    press(page, "Go on to the base model")
    at_step(page, 2)
    pick(page, "Base model", "Demo")
    expect(page.get_by_text("It has its own recipe.")).to_be_visible()
    press(page, "Go on to the dataset")
    at_step(page, 3)
    pick(page, "Dataset", "pets")
    expect(page.get_by_text("It has 4 pictures.")).to_be_visible()
    press(page, "Go on to the review")
    at_step(page, 4)


def bring_and_choose(page: Page, run_zip: Path) -> None:
    """With the pictures of the zip: the same goal, trigger word, base model and dataset as `fill` has."""
    page.locator("summary").filter(has_text="upload a zip").click()
    page.locator('input[type="file"]').set_input_files(run_zip)
    expect(page.get_by_text("The zip run.zip is uploaded")).to_be_visible()
    page.get_by_label("Name of the new dataset").fill("pets")
    page.get_by_role("button", name="Bring the pictures in").click()
    expect(page.get_by_text("4 pictures and 4 captions were brought in")).to_be_visible()
    page.goto(re.sub("/Dataset.*", "/Training?step=goal", page.url))
    at_step(page, 1)
    page.locator("label").filter(has_text=re.compile("^Concept")).click()
    expect(page.get_by_text("work best")).to_be_visible()
    page.get_by_role("textbox", name="Trigger word").fill("zork")
    on_to_the_review(page)


@pytest.mark.timeout(900)
def test_ten_settings_of_an_expert_survive_a_reload_and_go_out_and_in_byte_by_byte(
    expert: Page, start_clean: Callable[[], AppServer], visit: Visit, tmp_path: Path
) -> None:
    recipe = take_recipe(expert, tmp_path / "one.toml")
    typed = {key: float(text.replace(",", ".")) for key, text in TYPED.items()}
    assert typed.items() <= tomllib.loads(recipe.decode())["recipe"].items()
    run = take_zip(expert, tmp_path / "run.zip")
    assert {name.partition("/")[0] for name in run} == {
        "README.txt", "config.toml", "dataset.toml", "images", "sample_prompts.txt",
    }  # fmt: skip
    assert typed.items() <= tomllib.loads(run["config.toml"].decode()).items()

    # The recipe alone, where nothing was chosen.
    clean = start_clean()
    page = visit(clean, "/Training?step=review")
    put_in(page, tmp_path / "one.toml")
    page.reload()
    drawn(page)
    assert take_recipe(page, tmp_path / "two.toml") == recipe

    # The whole run with its pictures, in another workspace that had nothing.
    clean.stop()
    page = visit(start_clean(), "/Dataset")
    bring_and_choose(page, tmp_path / "run.zip")
    put_in(page, tmp_path / "run.zip")
    page.reload()
    drawn(page)
    assert take_zip(page, tmp_path / "again.zip") == run
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "run.zip").read_bytes()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_nothing_speaks_against_a_screen(
    server: AppServer, visit: Visit, objections: Objections, theme: Theme, filled: bool
) -> None:
    if filled:
        fill(server)
    page = visit(server, theme=theme)
    for number, step in enumerate(guide_steps.STEPS, 1):
        page.goto(f"{server.url}/Training?step={step.id}")
        at_step(page, number)
        assert objections(page) == [], step.id
