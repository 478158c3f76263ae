"""Zips that a page was given: under their own names, and gone when nobody imports them."""

import os
from pathlib import Path

import pytest

from lora_core.datasets.importing import run_import
from lora_core.datasets.uploads import new_upload, uploads
from lora_core.errors import ImportRefusedError
from lora_core.reporting import NullReporter
from lora_core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def test_an_upload_that_is_refused_is_called_as_its_owner_calls_it(workspace: Workspace) -> None:
    upload = new_upload(workspace, "My pets.ZIP")
    upload.write_bytes(b"PK")
    with pytest.raises(ImportRefusedError, match=r"The zip My pets\.zip was not imported"):
        run_import(workspace, {"source": str(upload), "name": "pets"}, NullReporter())
    assert list(uploads(workspace).iterdir()) == []


def test_uploads_that_nobody_imported_are_removed_after_a_week(workspace: Workspace) -> None:
    old, new = new_upload(workspace), new_upload(workspace)
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old.parent, (1, 1))
    new_upload(workspace)
    assert (old.exists(), new.exists()) == (False, True)
