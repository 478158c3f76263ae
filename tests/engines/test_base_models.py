"""Base models as folders, single files and names on a hub: equal networks, and no reach for the net."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from single_files import single_file, vae_tensors
from tiny_models import sd1_unet, sdxl_unet, tiny_sd1, tiny_sdxl
from trainer_rig import Ears, Rig, Trained, losses

from lora_core.engines.diffusers import architecture
from lora_core.engines.diffusers.caption_tokens import tokens
from lora_core.engines.diffusers.model import BaseModel, load_base
from lora_core.errors import ModelError
from lora_core.models import inspect_base
from lora_core.settings import ModelSettings, PrecisionSettings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of both families with their single files beside them."""
    root = tmp_path_factory.mktemp("models")
    tiny_sd1(root / "sd1")
    tiny_sdxl(root / "sdxl")
    for family in ("sd1", "sdxl"):
        single_file(root / family, root / f"{family}.safetensors")
    return root


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and any use of the network is a failure."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "hub"


def load(path: Path, mixed_precision: str = "no", **settings: Any) -> BaseModel:
    model = ModelSettings(pretrained_model_name_or_path=path, **settings)
    return load_base(model, PrecisionSettings(mixed_precision=mixed_precision))


def assert_equal(one: BaseModel, other: BaseModel) -> None:
    """The same weights, to the last bit, and the same answers."""
    for left, right in zip(
        (one.unet, one.vae, *one.text_encoders), (other.unet, other.vae, *other.text_encoders), strict=True
    ):
        weights = right.state_dict()
        assert left.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in left.state_dict().items())
    latents, times = torch.randn(1, 4, 8, 8), torch.tensor([7])
    words = torch.randn(1, 77, one.unet.config.cross_attention_dim)
    added = {"text_embeds": torch.randn(1, 128), "time_ids": torch.full((1, 6), 64.0)}
    with torch.no_grad():
        for answer in (
            lambda base: base.unet(latents, times, words, added_cond_kwargs=added).sample,
            lambda base: base.vae.decode(latents).sample,
            lambda base: base.vae.encode(torch.ones(1, 3, 64, 64)).latent_dist.mean,
            lambda base: base.text_encoders[-1](base.tokenizers[-1]("sks", return_tensors="pt").input_ids)[0],
        ):
            assert torch.equal(answer(one), answer(other))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_gives_the_same_networks_as_its_folder(models: Path, family: str) -> None:
    folder, file = load(models / family), load(models / f"{family}.safetensors")
    assert folder.family == file.family == family
    assert_equal(folder, file)
    for left, right in zip(folder.tokenizers, file.tokenizers, strict=True):
        for text in ("a photo of sks cat, red", "", "a " * 100):
            asked = {"padding": "max_length", "truncation": True}
            assert left(text, **asked).input_ids == right(text, **asked).input_ids
    assert torch.equal(folder.scheduler.alphas_cumprod, file.scheduler.alphas_cumprod)
    assert folder.vae.config.scaling_factor == file.vae.config.scaling_factor


def test_the_full_families_are_read_from_their_shapes() -> None:
    sd1 = {
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "use_linear_projection": False,
        "layers_per_block": 2,
    }
    sdxl = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    with torch.device("meta"):
        full = {
            "sd1": sd1_unet((320, 640, 1280, 1280), 768),
            "sdxl": sdxl_unet((320, 640, 1280), 2048, 1280, (1, 2, 10)),
        }
    from single_files import _unet_name

    for family, published in (("sd1", sd1), ("sdxl", sdxl)):
        state = full[family].state_dict()
        shapes = {_unet_name(name, state): tuple(value.shape) for name, value in state.items()}
        found = architecture.unet_config(shapes, family)
        assert {key: found[key] for key in published} == published


def test_half_weights_are_loaded_as_the_run_computes_and_the_vae_stays_full(models: Path) -> None:
    base = load(models / "sd1.safetensors", "bf16")
    assert (base.unet.dtype, base.vae.dtype) == (torch.bfloat16, torch.float32)
    assert load(models / "sd1", "fp16", no_half_vae=False).vae.dtype == torch.float16
    assert not any(weight.requires_grad for weight in base.unet.parameters())


@pytest.mark.parametrize("form", ["folder", "diffusers file", "original file"])
def test_a_separate_vae_takes_the_place_of_the_models_own(models: Path, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "vae"
    shutil.copytree(models / "sd1" / "vae", folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    changed = {name: value + 0.25 for name, value in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    place = folder
    if form != "folder":
        place = tmp_path / "vae.safetensors"
        kept = changed if form == "diffusers file" else vae_tensors(folder)
        save_file({name: value.contiguous() for name, value in kept.items()}, place)
    base = load(models / "sdxl", vae=place)
    assert torch.equal(base.vae.decoder.conv_in.weight, changed["decoder.conv_in.weight"])
    assert torch.equal(base.vae.quant_conv.bias, changed["quant_conv.bias"])


def test_v_prediction_and_zero_snr_come_from_the_models_marks(models: Path, tmp_path: Path) -> None:
    marked = single_file(
        models / "sd1", tmp_path / "v.safetensors", v_pred=torch.zeros(0), ztsnr=torch.zeros(0)
    )
    shutil.copytree(models / "sd1" / "tokenizer", tmp_path / "tokenizer")
    folder = tiny_sd1(tmp_path / "v", prediction_type="v_prediction", rescale_betas_zero_snr=True)
    for base in (load(marked), load(folder)):
        assert base.scheduler.config.prediction_type == "v_prediction"
        assert float(base.scheduler.alphas_cumprod[-1]) == 0


def test_v_prediction_and_zero_snr_come_from_the_settings_too(models: Path) -> None:
    plain = load(models / "sd1").scheduler
    assert (plain.config.prediction_type, plain.config.rescale_betas_zero_snr) == ("epsilon", False)
    assert float(plain.alphas_cumprod[-1]) > 0.004
    asked = load(models / "sd1.safetensors", v_parameterization=True, zero_terminal_snr=True).scheduler
    assert asked.config.prediction_type == "v_prediction"
    assert float(asked.alphas_cumprod[-1]) == 0


@pytest.mark.parametrize("place", ["named", "sd-scripts", "beside", "workspace", "hub"])
def test_the_tokenizer_of_a_single_file_is_looked_for_in_turn(
    models: Path, tmp_path: Path, no_hub: Path, place: str
) -> None:
    shelf = tmp_path / "models" / "checkpoints"
    shelf.mkdir(parents=True)
    file = shelf / "sd1.safetensors"
    file.hardlink_to(models / "sd1.safetensors")
    cached = no_hub / "models--openai--clip-vit-large-patch14"
    folder = {
        "named": tmp_path / "words",
        "sd-scripts": tmp_path / "words" / "openai_clip-vit-large-patch14",
        "beside": shelf / "tokenizer",
        "workspace": shelf.parent / "text_encoders" / "tokenizer",
        "hub": cached / "snapshots" / "0123",
    }[place]
    shutil.copytree(models / "sd1" / "tokenizer", folder)
    if place == "hub":
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("0123")
    named = tmp_path / "words" if place in {"named", "sd-scripts"} else None
    assert len(load(file, tokenizer_cache_dir=named).tokenizers[0]) == len(load(models / "sd1").tokenizers[0])


def test_without_a_tokenizer_there_is_one_clear_error(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "lonely" / "sd1.safetensors"
    file.parent.mkdir()
    file.hardlink_to(models / "sd1.safetensors")
    with pytest.raises(ModelError, match=r"bring no tokenizer.*--tokenizer openai/clip-vit-large-patch14"):
        load(file)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        load(file, tokenizer_cache_dir=tmp_path / "nothing")


def test_a_tokenizer_with_more_words_than_the_encoder_is_refused(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(models / "sd1" / "tokenizer", folder)
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "more</w>": len(vocabulary)}), "utf-8")
    with pytest.raises(ModelError, match="do not belong together"):
        load(models / "sd1.safetensors", tokenizer_cache_dir=folder)


@pytest.mark.parametrize(
    ("file", "text"),
    [("vocab.json", "nothing"), ("vocab.json", "{}"), ("merges.txt", "nothing"), ("merges.txt", "#v\na b c")],
)
def test_a_damaged_tokenizer_is_told_in_words(models: Path, tmp_path: Path, file: str, text: str) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(models / "sd1" / "tokenizer", folder)
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"The tokenizer in .* was not loaded"):
        load(models / "sd1.safetensors", tokenizer_cache_dir=folder)


@pytest.mark.parametrize("notes", [None, {"model_max_length": 10}, {"model_max_length": 10**30}], ids=str)
def test_captions_are_as_long_as_the_text_encoder_reads_whatever_the_tokenizer_says(
    models: Path, tmp_path: Path, notes: dict[str, int] | None
) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(models / "sd1" / "tokenizer", folder)
    (folder / "tokenizer_config.json").unlink()
    if notes is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(notes), "utf-8")
    (found,) = load(models / "sd1.safetensors", tokenizer_cache_dir=folder).tokenizers
    (plain,) = load(models / "sd1").tokenizers
    for caption in ("a photo of sks cat", "cat " * 100):
        mine, wanted = (tokens(each, caption, 1, weighted=False).ids for each in (found, plain))
        assert torch.equal(mine, wanted)


def test_a_name_on_the_hub_is_found_in_its_cache_and_never_fetched(models: Path, no_hub: Path) -> None:
    with pytest.raises(ModelError, match=r"not on this machine.*lora_core\.models\.hub owner/tiny"):
        load(Path("owner/tiny"))
    repository = no_hub / "models--owner--tiny"
    shutil.copytree(models / "sd1", repository / "snapshots" / "0123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    assert_equal(load(Path("owner/tiny")), load(models / "sd1"))
    assert inspect_base(Path("owner/tiny")).family == "sd15"


def test_a_file_with_a_weight_left_out_names_it(models: Path, tmp_path: Path) -> None:
    tensors = load_file(models / "sd1.safetensors")
    del tensors["model.diffusion_model.middle_block.1.norm.weight"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match=r"1 of the weights .* mid_block\.attentions\.0\.norm\.weight"):
        load(tmp_path / "cut.safetensors", tokenizer_cache_dir=models / "sd1" / "tokenizer")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        (
            "input_blocks.1.0.out_layers.3.weight",
            None,
            r"input_blocks\.1\.0\.out_layers\.3\.weight is missing",
        ),
        ("input_blocks.1.0.out_layers.3.weight", (), "make no network of its family"),
        ("input_blocks.1.1.proj_in.weight", (3,), "are missing or have other sizes"),
    ],
)
def test_a_file_whose_sizes_make_no_network_is_told_in_words(
    models: Path, tmp_path: Path, name: str, shape: tuple[int, ...] | None, said: str
) -> None:
    tensors = load_file(models / "sd1.safetensors")
    del tensors[f"model.diffusion_model.{name}"]
    if shape is not None:
        tensors[f"model.diffusion_model.{name}"] = torch.zeros(shape)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=said):
        load(tmp_path / "odd.safetensors", tokenizer_cache_dir=models / "sd1" / "tokenizer")


@pytest.mark.parametrize(
    ("part", "name"),
    [("unet", "conv_in.bias"), ("text_encoder", "final_layer_norm.weight"), ("vae", "quant_conv.bias")],
)
def test_a_folder_with_a_weight_left_out_names_it(models: Path, tmp_path: Path, part: str, name: str) -> None:
    shutil.copytree(models / "sd1", tmp_path / "sd1")
    (weights,) = (tmp_path / "sd1" / part).glob("*.safetensors")
    tensors = load_file(weights)
    del tensors[name]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"1 of the weights of its {part} are missing, {name}"):
        load(tmp_path / "sd1")


def test_folders_with_the_names_of_older_libraries_load_the_same_weights(
    models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "sd1", tmp_path / "sd1")
    text = tmp_path / "sd1" / "text_encoder" / "model.safetensors"
    older = {f"text_model.{name}": value for name, value in load_file(text).items()}
    save_file({**older, "text_model.embeddings.position_ids": torch.arange(77)[None]}, text, {"format": "pt"})
    vae = tmp_path / "sd1" / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    older = load_file(vae)
    for new, old in renamed.items():
        older = {
            name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): value
            for name, value in older.items()
        }
    save_file(older, vae, {"format": "pt"})
    assert_equal(load(tmp_path / "sd1"), load(models / "sd1"))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_folder_with_weights_in_half_precision_alone_loads(
    models: Path, tmp_path: Path, family: str
) -> None:
    folder = tmp_path / family
    shutil.copytree(models / family, folder)
    whole = inspect_base(folder).size_bytes
    for weights in folder.glob("*/*.safetensors"):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert_equal(load(folder), load(models / family))
    for weights in (models / family).glob("*/*.safetensors"):  # both: the others count
        shutil.copy(weights, folder / weights.parent.name)
    assert inspect_base(folder).size_bytes == whole


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_trains_with_captions_read_once_as_with_captions_read_each_time(
    models: Path, tmp_path: Path, train: Trained, family: str
) -> None:
    rig = Rig(tmp_path, models / f"{family}.safetensors")
    table = {"resolution": 64, "min_bucket_reso": 64, "max_bucket_reso": 64, "bucket_reso_steps": 64}
    values: dict[str, Any] = {"max_train_steps": 2, "clip_skip": 2 if family == "sd1" else None}
    ways = {
        "each time": {},
        "once": {
            "cache_text_encoder_outputs": True,
            "cache_text_encoder_outputs_to_disk": True,
            "sample_at_first": True,
            "sample_prompts": ["a cat --w 64 --h 64 --s 1"],
        },
    }
    folders = [rig.folder(name, dataset=table, **values, **way) for name, way in ways.items()]
    ears = [Ears(), Ears()]
    for folder, listening in zip(folders, ears, strict=True):
        train(folder, listening)
    assert losses(folders[0]) == losses(folders[1])
    assert len(losses(folders[0])) == 2
    assert "Reading the captions" in ears[1].phases
    assert len(list((folders[1] / "samples").iterdir())) == 1
