"""Addresses that serve small pictures to the browser: thumbnails, samples, previews of LoRA files.

Nothing of an address is ever joined into a path: each part is looked up in the list of what
there is. The gate stands in front of these addresses as of every other.

Covered: `/thumbs/DATASET/HASH.webp`, the same with a folder of the dataset, `/samples/JOB/FILE`,
`/previews/FILE`. Not covered: making thumbnails (see `lora_core.datasets.thumbs`), originals in full size,
range requests.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from lora_core.datasets.library import dataset_folder
from lora_core.datasets.thumbs import thumbnail
from lora_core.errors import LoraError
from lora_core.workspace import Workspace

KINDS: Final = {".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
"""What is served, by ending. Nothing that a browser could run."""
KEEP: Final = {
    # The name of a thumbnail is its content, that of a sample its moment: neither ever changes.
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}
KEEP_SHORTLY: Final = {**KEEP, "Cache-Control": "private, max-age=60"}
AT_ONCE: Final = 3
"""Pictures decoded at the same time. A page asks for 100; each may take 500 MB for a moment."""

Finder = Callable[[], Path | None]


def thumb_url(dataset: str, digest: str, *, base: str = "/") -> str:
    """The address of a thumbnail; `base` is what leads to the top of the app from where it is used.

    `dataset` is a name, or a name and a folder in it: `pets/cats`.
    """
    return f"{base}thumbs/{quote(dataset)}/{digest}.webp"


def sample_url(job: str, file: str, *, base: str = "/") -> str:
    """The address of a sample of a run."""
    return f"{base}samples/{quote(job, safe='')}/{quote(file, safe='')}"


def preview_url(file: str, *, base: str = "/") -> str:
    """The address of a picture that lies beside a LoRA file."""
    return f"{base}previews/{quote(file, safe='')}"


def picture_routes(open_workspace: Callable[[], Workspace] = Workspace.open) -> list[BaseRoute]:
    """The routes for `st.App`. The workspace is opened at each request: it may come up later than the app."""
    decoding: list[anyio.CapacityLimiter] = []  # made at the first request, inside the event loop

    async def answer(find: Finder, headers: dict[str, str]) -> Response:
        if not decoding:
            decoding.append(anyio.CapacityLimiter(AT_ONCE))
        try:
            path = await anyio.to_thread.run_sync(find, limiter=decoding[0])
        except (LoraError, OSError):
            path = None  # the page tells what is wrong with a dataset; a missing picture is only that
        if path is None:
            return Response("There is no such picture.", status_code=404, media_type="text/plain")
        return FileResponse(path, media_type=KINDS[path.suffix.lower()], headers=headers)

    async def thumbs(request: Request) -> Response:
        asked = request.path_params
        return await answer(
            lambda: _thumb(open_workspace(), asked["dataset"], asked.get("folder"), asked["digest"]), KEEP
        )

    async def samples(request: Request) -> Response:
        job, file = request.path_params["job"], request.path_params["file"]
        return await answer(lambda: _sample(open_workspace(), job, file), KEEP)

    async def previews(request: Request) -> Response:
        file = request.path_params["file"]
        # A preview may be replaced under the same name.
        return await answer(lambda: _listed(open_workspace().loras, file, picture=True), KEEP_SHORTLY)

    return [
        Route("/thumbs/{dataset}/{digest}.webp", thumbs),
        Route("/thumbs/{dataset}/{folder}/{digest}.webp", thumbs),
        Route("/samples/{job}/{file}", samples),
        Route("/previews/{file}", previews),
    ]


def _thumb(workspace: Workspace, dataset: str, folder: str | None, digest: str) -> Path | None:
    found: Path | None = dataset_folder(workspace, dataset)
    if found is not None and folder is not None:
        found = _listed(found, folder, picture=False)
    return thumbnail(found, digest) if found is not None else None


def _sample(workspace: Workspace, job: str, file: str) -> Path | None:
    folder = _listed(workspace.jobs, job, picture=False)
    return _listed(folder / "samples", file, picture=True) if folder else None


def _listed(folder: Path, name: str, *, picture: bool) -> Path | None:
    """The entry of `folder` with exactly this name: a picture, or a folder. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == name and not name.startswith("."):
                    fits = entry.is_file(follow_symlinks=False) and Path(name).suffix.lower() in KINDS
                    return Path(entry.path) if (fits if picture else entry.is_dir()) else None
    except OSError:
        return None
    return None
