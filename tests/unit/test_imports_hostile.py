"""Files that nobody would write on purpose: each is answered in words, soon, and nothing in it is run."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from lora_core.errors import LoraError, SettingsError
from lora_core.settings import Setting, catalogue, checked, dump_config, is_secret, loads_run
from lora_core.settings._toml import write_value
from lora_core.settings.imports import brief, read_metadata, read_recipe

MODEL = 'pretrained_model_name_or_path = "/models/base"\n'
IMAGES = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/images"\n'
SOON_S: Final = 8.0
"""Processor time of this process, so that other work on the machine does not count. Each takes under two."""


def lora(**notes: str) -> bytes:
    return json.dumps({"ss_seed": "1", "ss_epoch": "1", **notes}).encode()


def gui(**values: Any) -> bytes:
    return json.dumps({"LoRA_type": "Standard", **values}).encode()


FILES: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "spaces": b" \n\t" * 1000,
    "rubbish": bytes(range(256)) * 100,
    "letters": b"word " * 100_000,
    "ten megabytes": b"seed = 1\n" * 1_200_000,
    "nul": b"seed = 1\0",
    "no utf-8": b'output_name = "\xff\xfe"',
    "utf-16": "seed = 1".encode("utf-16"),
    "a list": b"[1, 2]",
    "deep list": b'{"a":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
    "deep table": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep toml list": b"a = " + b"[" * 400_000 + b"]" * 400_000,
    "deep toml table": b"a = " + b"{a=" * 200_000,
    "rather deep toml": b"a = " + b"[" * 60 + b"]" * 60,
    "dotted": b"a" + b".a" * 400_000 + b" = 1",
    "dotted header": b"[a" + b".a" * 400_000 + b"]",
    "open": b"[[datasets",
    "twice": b"seed = 1\nseed = 2\n",
    "many names": b"\n".join(b"k%d = 1" % number for number in range(60_000)),
    "quotes": b'a = """' + b'"' * 500_000,
    "windows path": b'vae = "C:\\users\\me"',
    "no key of a recipe": b'{"optimizer": 1, "max_resolution": {}}',
    "not a recipe": b"[tool.ruff]\nline-length = 110\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_recipe_is_refused_in_words(name: str) -> None:
    started = time.process_time()
    with pytest.raises(SettingsError) as caught:
        read_recipe("file.toml", FILES[name])
    assert time.process_time() - started < SOON_S
    assert caught.value.what == "The file file.toml was not imported." or "not read" in caught.value.what
    assert caught.value.why
    assert caught.value.fix
    assert len(str(caught.value)) < 5000


def test_a_windows_path_in_the_wrong_quotes_is_explained() -> None:
    with pytest.raises(SettingsError, match="single quotes"):
        read_recipe("file.toml", FILES["windows path"])


ODD: Final[Mapping[str, bytes]] = {
    "many entries": b"seed = 1\noptimizer_args = [" + b",".join(b'"k%d=1"' % i for i in range(15_000)) + b"]",
    "many arguments": gui(additional_parameters="--a=b " * 50_000, seed=1),
    "open quotes": gui(additional_parameters='--a "', seed=1),
    "deep argument": b'seed = 1\noptimizer_args = ["weight_decay=' + b"(" * 300_000 + b'"]',
    "signs": b'seed = 1\noptimizer_args = ["weight_decay=' + b"-" * 300_000 + b'1"]',
    "deep notes": lora(ss_optimizer="A(x=" + "-" * 1900 + "1)", ss_datasets="[" * 200_000),
    "long notes": lora(ss_resolution="(" * 300_000, ss_network_args="{" * 300_000),
    "folders": IMAGES.encode() + b'[[datasets.subsets]]\nimage_dir="a"\nnum_repeats=1\n' * 3000,
    "long number": b'{"LoRA_type": "Standard", "seed": 1, "learning_rate": ' + b"9" * 4000 + b"}",
    "long name": b"seed = 1\n" + b"a" * 500_000 + b" = 1",
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_costs_that_value_alone(name: str) -> None:
    started = time.process_time()
    found = read_recipe("file.toml", ODD[name])
    assert time.process_time() - started < SOON_S
    assert found.values or found.target
    assert all(len(line.value) <= 120 for line in found.not_understood)


SHELL = "$(touch ran); `touch ran`; | & > ran 'x' \"y\" %PATH% ../../ran"
CODE = "__import__('pathlib').Path('ran').touch()"


@pytest.mark.parametrize("place", ["optimizer_args", "lr_scheduler_args", "network_args"])
@pytest.mark.parametrize("code", [CODE, SHELL, "().__class__.__mro__[1].__subclasses__()", "f'{1+1}'", "1+1"])
def test_nothing_in_a_file_is_run(
    place: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"seed = 1\n{place} = [{write_value('weight_decay=' + code)}]\n"
    found = read_recipe("file.toml", text.encode())
    assert found.values["seed"] == 1
    read_metadata("a.safetensors", {"ss_optimizer": f"AdamW(weight_decay={code})", "ss_seed": "1"})
    read_recipe("gui.json", gui(additional_parameters=f"--seed {code}", seed=1, optimizer_args=code))
    with pytest.raises(LoraError):
        loads_run(MODEL + "output_name = 1\n" + text, IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_shell_signs_are_letters_like_others() -> None:
    text = f"{MODEL}output_name = {write_value(SHELL)}\n"
    run = loads_run(text, IMAGES)
    assert run.saving.output_name == SHELL
    assert loads_run(dump_config(run), IMAGES).saving.output_name == SHELL
    assert read_recipe("file.toml", text.encode()).target["output_name"] == SHELL


@pytest.mark.parametrize("name", ["日本語 ж", "👩🏽‍🎨 ﷽", "e\u0301", "\u202eexe", "a\tb"])
def test_names_in_any_script_are_kept(name: str) -> None:
    found = read_recipe("file.toml", f"{MODEL}output_name = {write_value(name)}\nseed = 1\n".encode())
    assert found.target["output_name"] == name
    assert brief(name).isprintable()


WRONG: Final = (True, -1, 10**30, 1.5, float("inf"), "no such", "", [], [[1]], ["a"], {"a": 1})


def files_with(s: Setting, value: Any) -> tuple[str, str]:
    """A config and a dataset file in which one setting has this value."""
    if s.place in {"dataset", "subset"}:
        line = f"{s.key} = {write_value(value)}\n"
        rest = IMAGES.replace('image_dir = "/images"\n', "") if s.key == "image_dir" else IMAGES
        head, tail = rest.split("[[datasets.subsets]]\n")
        table = f"{head}{line if s.place == 'dataset' else ''}[[datasets.subsets]]\n{tail}"
        return MODEL, table + (line if s.place == "subset" else "")
    text = f"{s.key} = {write_value(value)}\n"
    if s.place != "argument":
        text = f"{s.place} = [{write_value(f'{s.key}={value}')}]\n"
    return ("" if s.key == "pretrained_model_name_or_path" else MODEL) + text, IMAGES


@pytest.mark.parametrize("s", [s for s in catalogue() if not s.only], ids=lambda s: s.key)
def test_a_wrong_type_is_a_problem_of_its_setting(s: Setting) -> None:
    tried = 0
    for value in WRONG:
        if value == float("inf") or (
            s.place in {"network_args", "optimizer_args"} and not isinstance(value, str)
        ):
            continue
        if checked(s, value).problem is None:
            continue
        with pytest.raises(SettingsError) as caught:
            loads_run(*files_with(s, value))
        assert s.key in {problem.setting for problem in caught.value.problems}, value
        assert all(problem.what and problem.fix for problem in caught.value.problems)
        tried += 1
    assert tried or s.kind == "text" or s.place in {"network_args", "optimizer_args"}


@pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)
def test_a_wrong_type_in_an_imported_file_is_named(s: Setting) -> None:
    for value in (*WRONG, None, "\0", "x" * 20_000, [None], {"a": {"b": [1]}}):
        table = {"LoRA_type": "Standard", "max_grad_norm": 0.5, s.key: value}
        try:
            found = read_recipe("file.json", json.dumps(table).encode())
        except SettingsError:
            continue
        lines = [*found.taken, *found.translated, *found.ignored, *found.not_understood]
        assert any(line.name.split(".")[0] == s.key for line in lines), value


def test_secrets_are_known_by_name_and_by_look() -> None:
    for name in ("huggingface_token", "wandb_api_key", "civitai_token", "secrets.password", "HF_TOKEN"):
        assert is_secret(name, "x"), name
    for name in (
        "keep_tokens",
        "max_token_length",
        "class_tokens",
        "token_warmup_step",
        "keep_tokens_separator",
    ):
        assert not is_secret(name, "x"), name
    assert is_secret("vae", "https://example.org/model?token=abc")
    assert is_secret("args", ["--key", "hf_abcdefghijklmnopqrstuvwxyz"])
