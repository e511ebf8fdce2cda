import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from metapo.engines.models import load_model, load_tokenizer
from metapo.errors import MissingExtra, ModelError


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


@pytest.fixture
def adapter(tmp_path: Path, tiny_model: Path) -> Path:
    """An adapter whose weights are all 1, on a model beside it."""
    from peft import LoraConfig, get_peft_model

    shutil.copytree(tiny_model, tmp_path / "base")
    base = load_model(str(tmp_path / "base"), device="cpu", dtype="auto")
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"))
    for name, weights in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.ones_(weights)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_is_put_on_its_base_model(adapter: Path, tiny_model: Path) -> None:
    base, both = (load_model(str(folder), device="cpu", dtype="auto") for folder in (tiny_model, adapter))
    ids = torch.tensor([[5, 9, 30]])
    with torch.no_grad():
        assert (base(ids).logits - both(ids).logits).abs().max() > 0.1


def test_an_adapter_whose_base_model_or_weights_are_gone_is_told(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(next(name for name in weights if "lora_B" in name))
    save_file(weights, adapter / "adapter_model.safetensors")
    check_refusal(adapter, r"lacks 1 of the model's weights, such as model\.layers\.0\..*lora_B")
    base = adapter.with_name("base")
    base.rename(adapter.with_name("moved"))
    check_refusal(adapter, rf"its base model isn't there: there is no model folder {base}.* as base_model_name_or_path")
    for written in ("{}", '{"base_model_name_or_path": null}', "[]", "{"):
        (adapter / "adapter_config.json").write_text(written)
        check_refusal(adapter, r"^adapter_config.json in .* names no base_model_name_or_path")


def test_the_extra_that_an_adapter_needs_is_told(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metapo.engines.models.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"the adapter in .* needs the extra 'lora'"):
        load_model(str(adapter), device="cpu", dtype="auto")


def check_refusal(folder: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(folder), device="cpu", dtype="auto")
