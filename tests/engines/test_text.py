"""Captions as conditioning: layers, long captions, weights, and what is remembered; beside sd-scripts."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sd_scripts_code import piece
from tiny_models import tiny_sd1, tiny_sdxl

from lora_core.engines.diffusers.caption_tokens import tokens, weighted_parts
from lora_core.engines.diffusers.model import BaseModel, load_base
from lora_core.engines.diffusers.text import Texts, size_conditions
from lora_core.errors import DatasetError
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    with_values,
)

CPU = torch.device("cpu")
LONG = "a red cat, a blue dog, sks house, tree of cat " * 12
CAPTIONS = ["a photo of sks cat", "", LONG, "a (red:1.3) [cat], \\(dog\\) ((house", "tree " * 74 + "cat dog"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseModel]:
    root = tmp_path_factory.mktemp("bases")
    folders = {"sd1": tiny_sd1(root / "sd1"), "sdxl": tiny_sdxl(root / "sdxl")}
    return {
        family: load_base(run_on(folder).model, run_on(folder).precision)
        for family, folder in folders.items()
    }


def run_on(folder: Path, **values: Any) -> RunConfig:
    subset = SubsetSettings(image_dir=folder.parent / "pictures")
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=folder),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=(subset,)),)),
    )
    return with_values(run, values)


def texts(base: BaseModel, folder: Path, **values: Any) -> Texts:
    return Texts(base, run_on(folder, **values), CPU)


# --- weights in brackets ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "parts"),
    [
        ("plain text", [("plain text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("\\(literal\\]", [("(literal]", 1.0)]),
        ("(two)(groups)", [("twogroups", 1.1)]),
        ("(a:1.5) b: c", [("a", 1.5), (" b: c", 1.0)]),
        ("[less] more)", [("less", 1 / 1.1), (" more)", 1.0)]),
        ("((twice:2))", [("twice", 2 * 1.1)]),
        ("(odd:1.2.3)", [("odd:1.2.3", 1.1)]),
        ("", [("", 1.0)]),
    ],
)
def test_brackets_say_how_much_a_word_counts(caption: str, parts: list[tuple[str, float]]) -> None:
    assert weighted_parts(caption) == parts


def test_weights_scale_the_words_and_not_the_ends(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    for base in bases.values():
        plain = texts(base, tmp_path)(["a red cat"])
        heavy = texts(base, tmp_path, weighted_captions=True)(["a (red:2) cat"])
        expected = plain.hidden.clone()
        expected[:, 2] *= 2
        assert torch.equal(heavy.hidden, expected)
        assert plain.pooled is None or torch.equal(heavy.pooled, plain.pooled)


# --- layers -------------------------------------------------------------------------------------


def test_clip_skip_takes_an_earlier_layer_with_the_last_norm(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    encoder = bases["sd1"].text_encoders[0]
    ids = tokens(bases["sd1"].tokenizers[0], "a red cat", 1, weighted=False).ids
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(
            lambda _layer, _given, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer in encoder.encoder.layers
    ]
    last = encoder(ids)[0]
    for hook in hooks:
        hook.remove()
    for skip in (1, 2, 3):
        read = texts(bases["sd1"], tmp_path, clip_skip=skip)(["a red cat"])
        assert torch.equal(read.hidden, encoder.final_layer_norm(seen[-skip]))
    assert torch.equal(texts(bases["sd1"], tmp_path)(["a red cat"]).hidden, last)


def test_sdxl_reads_both_encoders_before_their_last_layer_and_pools_the_second(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    base = bases["sdxl"]
    ids = [tokens(tokenizer, "a red cat", 1, weighted=False).ids for tokenizer in base.tokenizers]
    said = [
        encoder(each, output_hidden_states=True)
        for encoder, each in zip(base.text_encoders, ids, strict=True)
    ]
    read = texts(base, tmp_path, clip_skip=2)(["a red cat"])
    assert torch.equal(read.hidden, torch.cat([each.hidden_states[-2] for each in said], dim=2))
    assert torch.equal(read.pooled, said[1].text_embeds)
    assert int(ids[1][0, -1]) == 0  # filled up with OpenCLIP's own token
    assert int(ids[0][0, -1]) == base.tokenizers[0].eos_token_id


def test_sizes_and_the_pooled_caption_are_told_to_sdxl_alone(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    sizes = torch.tensor([[1023, 767, 0, 64, 1024, 768]])
    assert size_conditions(sizes, texts(bases["sd1"], tmp_path)(["a cat"])) is None
    read = texts(bases["sdxl"], tmp_path)(["a cat"])
    told = size_conditions(sizes, read)
    assert torch.equal(told["time_ids"], sizes.float())
    assert told["text_embeds"] is read.pooled


# --- long captions ------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "width"), [(None, 77), (150, 152), (225, 227)])
def test_a_long_caption_is_read_in_rows_of_75_words(
    bases: dict[str, BaseModel], tmp_path: Path, length: int | None, width: int
) -> None:
    for base in bases.values():
        read = texts(base, tmp_path, max_token_length=length)([LONG, "a cat"])
        assert read.hidden.shape[:2] == (2, width)
        tokenizer = base.tokenizers[0]
        rows = tokens(tokenizer, LONG, (length or 75) // 75, weighted=False).ids
        words = tokenizer(LONG, verbose=False).input_ids[1:-1]
        assert rows[:, 1:-1].flatten().tolist()[: len(words)] == words[: rows[:, 1:-1].numel()]
        assert set(rows[:, 0].tolist()) == {tokenizer.bos_token_id}


def test_a_short_caption_reads_the_same_with_room_for_a_long_one(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    for base in bases.values():
        short = texts(base, tmp_path)(["a red cat"])
        room = texts(base, tmp_path, max_token_length=225)(["a red cat"])
        assert torch.allclose(room.hidden[:, :76], short.hidden[:, :76], atol=1e-6)
        assert short.pooled is None or torch.allclose(room.pooled, short.pooled, atol=1e-6)


# --- beside sd-scripts --------------------------------------------------------------------------


class Wrapped:
    """A text encoder with the attributes of the transformers version that sd-scripts was written for."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.device = encoder, encoder.device
        self.text_model = getattr(encoder, "text_model", encoder)
        self.text_projection = getattr(encoder, "text_projection", None)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._encoder(*given, **named)


def theirs(
    base: BaseModel, length: int | None, clip_skip: int | None, *, weighted: bool
) -> list[torch.Tensor]:
    """What sd-scripts' own code makes of the captions."""
    logger = SimpleNamespace(info=lambda *_: None, warning=lambda *_: None)
    known = {"torch": torch, "logger": logger, "TextEncodingStrategy": object}
    mother = piece("TokenizeStrategy", "library/strategy_base.py", **known)
    ids, weights = [], []
    for tokenizer in base.tokenizers:
        found = [
            mother._get_input_ids(mother(), tokenizer, caption, (length or 75) + 2, weighted=weighted)
            for caption in CAPTIONS
        ]
        ids.append(torch.stack([each[0] if weighted else each for each in found]))
        weights.append(torch.stack([each[1] for each in found]) if weighted else torch.empty(0))
    models = [Wrapped(encoder) for encoder in base.text_encoders]
    if base.family == "sd1":
        strategy = piece("SdTextEncodingStrategy", "library/strategy_sd.py", **known)(clip_skip)
        named = SimpleNamespace(tokenizer=base.tokenizers[0])
    else:
        strategy = piece("SdxlTextEncodingStrategy", "library/strategy_sdxl.py", **known)()
        # The model here has fewer layers; the eleventh of twelve is the last but one of any number.
        one, two = base.tokenizers
        named = SimpleNamespace(tokenizer1=one, tokenizer2=two)
        models[0] = _with_eleventh_layer(models[0])
    with torch.no_grad():
        if weighted:
            return strategy.encode_tokens_with_weights(named, models, ids, weights)
        return strategy.encode_tokens(named, models, ids)


def _with_eleventh_layer(model: Wrapped) -> Any:
    class Layers(dict[Any, Any]):
        def __getitem__(self, key: Any) -> Any:
            value = super().__getitem__(key)
            return {11: value[-2]} if key == "hidden_states" else value

    wrapped = Wrapped(model)
    wrapped._encoder = lambda *given, **named: Layers(model(*given, **named))
    return wrapped


@pytest.mark.sd_scripts
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("length", [None, 150, 225])
@pytest.mark.parametrize(("family", "clip_skip"), [("sd1", None), ("sd1", 2), ("sdxl", None)])
def test_captions_are_read_as_sd_scripts_reads_them(
    bases: dict[str, BaseModel],
    tmp_path: Path,
    family: str,
    clip_skip: int | None,
    length: int | None,
    weighted: bool,
) -> None:
    base = bases[family]
    read = texts(
        base, tmp_path, clip_skip=clip_skip, max_token_length=length, weighted_captions=weighted
    ).trained(CAPTIONS)
    *hidden, pooled = [
        *theirs(base, length, clip_skip, weighted=weighted),
        *([None] if family == "sd1" else []),
    ]
    assert torch.equal(read.hidden.detach(), torch.cat(hidden, dim=2))
    assert pooled is None or torch.equal(read.pooled.detach(), pooled)


# --- remembering --------------------------------------------------------------------------------


@pytest.fixture
def calls(bases: dict[str, BaseModel]) -> Iterator[list[str]]:
    """Grows by one each time that a first text encoder reads."""
    read: list[str] = []
    hooks = [
        base.text_encoders[0].register_forward_hook(lambda *_: read.append("read")) for base in bases.values()
    ]
    yield read
    for hook in hooks:
        hook.remove()


def test_a_caption_is_read_once_while_it_is_remembered(
    bases: dict[str, BaseModel], tmp_path: Path, calls: list[str]
) -> None:
    read = texts(bases["sd1"], tmp_path)
    calls.clear()
    first = read(["a cat", "a dog"])
    again = read(["a dog", "a cat"])
    assert len(calls) == 2
    assert torch.equal(first.hidden, again.hidden.flip(0))
    assert not first.hidden.requires_grad


def test_what_a_caption_reads_as_does_not_depend_on_its_neighbours(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    alone = texts(bases["sdxl"], tmp_path)(["a cat"])
    among = texts(bases["sdxl"], tmp_path)([LONG, "a cat", ""])
    assert torch.equal(alone.hidden[0], among.hidden[1])
    assert torch.equal(alone.pooled[0], among.pooled[1])


def test_prepared_captions_are_not_read_again(
    bases: dict[str, BaseModel], tmp_path: Path, calls: list[str]
) -> None:
    read = texts(bases["sd1"], tmp_path, cache_text_encoder_outputs=True)
    told: list[int] = []
    read.prepare(["a cat", "a dog", "a cat"], told.append)
    calls.clear()
    read(["a dog", "a cat"])
    assert told == [1, 2]
    assert calls == []


def test_the_disk_keeps_what_was_read_and_never_an_old_caption(
    bases: dict[str, BaseModel], tmp_path: Path, calls: list[str]
) -> None:
    values = {"cache_text_encoder_outputs": True, "cache_text_encoder_outputs_to_disk": True}
    base = bases["sdxl"]
    first = texts(base, tmp_path / "base", **values)(["a cat"])
    calls.clear()
    again = texts(base, tmp_path / "base", **values)(["a cat"])
    assert calls == []
    assert torch.equal(first.hidden, again.hidden)
    assert torch.equal(first.pooled, again.pooled)
    texts(base, tmp_path / "base", **values)(["a cat, edited"])
    assert len(calls) == 1
    texts(base, tmp_path / "base", **values, max_token_length=150)(["a cat"])
    assert len(calls) == 2


def test_another_encoder_or_a_broken_file_is_read_anew(
    bases: dict[str, BaseModel], tmp_path: Path, calls: list[str]
) -> None:
    values = {"cache_text_encoder_outputs_to_disk": True}
    base = bases["sd1"]
    texts(base, tmp_path / "base", **values)(["a cat"])
    (file,) = (tmp_path / "pictures" / ".lora" / "texts").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    calls.clear()
    texts(base, tmp_path / "base", **values)(["a cat"])
    assert len(calls) == 1
    bias = base.text_encoders[0].final_layer_norm.bias
    kept = bias.data.clone()
    bias.data += 1e-3
    changed = texts(base, tmp_path / "base", **values)(["a cat"])
    bias.data = kept
    assert len(calls) == 2
    assert not torch.equal(changed.hidden, texts(base, tmp_path / "base", **values)(["a cat"]).hidden)


def test_a_file_with_a_bit_turned_over_is_read_anew(
    bases: dict[str, BaseModel], tmp_path: Path, calls: list[str]
) -> None:
    values = {"cache_text_encoder_outputs_to_disk": True}
    first = texts(bases["sd1"], tmp_path / "base", **values)(["a cat"])
    (file,) = (tmp_path / "pictures" / ".lora" / "texts").iterdir()
    content = bytearray(file.read_bytes())
    content[-200] ^= 1
    file.write_bytes(content)
    calls.clear()
    again = texts(bases["sd1"], tmp_path / "base", **values)(["a cat"])
    assert len(calls) == 1
    assert torch.equal(first.hidden, again.hidden)
    texts(bases["sd1"], tmp_path / "base", **values)(["a cat"])
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_to_is_told_with_the_setting(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    (tmp_path / "pictures" / ".lora").mkdir(parents=True)
    (tmp_path / "pictures" / ".lora" / "texts").write_text("no folder")
    read = texts(bases["sd1"], tmp_path / "base", cache_text_encoder_outputs_to_disk=True)
    with pytest.raises(DatasetError, match="cache_text_encoder_outputs_to_disk"):
        read(["a cat"])


def test_a_trained_encoder_is_read_with_gradients_and_always_anew(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    base = bases["sdxl"]
    read = texts(base, tmp_path, network_train_unet_only=False)
    weights = [encoder.get_input_embeddings().weight for encoder in base.text_encoders]
    for weight in weights:
        weight.requires_grad_(True)
    said = read.trained(["a cat", "a dog"])
    (said.hidden.square().mean() + said.pooled.square().mean()).backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in weights)
    for weight in weights:
        weight.requires_grad_(False)
        weight.grad = None
    before = read.now(["a cat"])
    kept = weights[0].data.clone()
    weights[0].data += 0.01
    after = read.now(["a cat"])
    weights[0].data = kept
    assert not torch.equal(before.hidden, after.hidden)
    assert not after.hidden.requires_grad
