from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from metapo.engines.models import load_model, load_tokenizer
from metapo.errors import ModelError


def test_a_model_folder_without_tokenizer_is_told(tmp_path: Path, tiny_model: Path) -> None:
    copy(tiny_model, tmp_path, "config.json", "model.safetensors")
    with pytest.raises(
        ModelError,
        match=r"the tokenizer in .* gives no tokens.*Save the right one there with tokenizer.save_pretrained",
    ):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    for load in (load_tokenizer, lambda model: load_model(model, device="cpu", dtype="auto")):
        with pytest.raises(ModelError, match=r"no config.json"):
            load(str(tmp_path))


@pytest.mark.parametrize("name", ["./gone", "../gone/model", "~/gone", "/gone", "models/gone", "a/b/c"])
def test_a_path_that_leads_nowhere_is_told_and_no_hub_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"^there is no model folder {name}"):
        load_tokenizer(name)


def test_a_name_that_may_be_on_the_hub_is_looked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"^can't load a tokenizer from nobody/nothing"):
        load_tokenizer("nobody/nothing")


def test_weights_that_are_broken_or_missing_are_told(tmp_path: Path, tiny_model: Path) -> None:
    copy(tiny_model, tmp_path, "config.json")
    weights = load_file(tiny_model / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the model's weights, such as model\.norm\.weight"):
        load_model(str(tmp_path), device="cpu", dtype="auto")
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"^can't load a model from"):
        load_model(str(tmp_path), device="cpu", dtype="auto")


def copy(source: Path, target: Path, *names: str) -> None:
    for name in names:
        (target / name).write_bytes((source / name).read_bytes())
