"""``fit --init_from RUN --model.adaptation``: what is trained, what a checkpoint holds, and what it may go with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.layers import AdaptedLinear, adapted_layers
from gpt_lightning.checkpoints.durable import list_checkpoints, read_manifest
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.generation.command import generate_command
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import FitResult
from gpt_lightning.training.reuse.reuse import Reuse
from gpt_lightning.weights.adapted import attach_adapters
from gpt_lightning.weights.checking import hash_weights
from gpt_lightning.weights.command import export_checkpoint
from gpt_lightning.weights.loading import load_model
from gpt_lightning.weights.starting import read_initial_weights
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run, weights_of
from tests.training.test_resume_exact import assert_equal, outcome

LORA = {"class_path": "LoRA", "init_args": {"r": 2}}
SHORT: dict[str, Any] = {"trainer": {"max_steps": 4}, "run": {"validate_every": 2, "save_every": 2}}


def fit(
    name: str,
    *settings: dict[str, Any],
    init_from: str | None = "base",
    resume: str = "never",
    reuse: Reuse | None = None,
) -> FitResult:
    start = {} if init_from is None else {"init_from": init_from}
    return tiny_run(SHORT, start, {"run": {"dir": name}}, *settings).fit(resume, reuse)


def adapt(**settings: Any) -> dict[str, Any]:
    return {"model": {"adaptation": LORA, **settings}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapted run."""
    place = tmp_path_factory.mktemp("adapters")
    write_corpus(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
        fit("base", init_from=None)
        fit("other", {"seed_everything": 7}, init_from=None)
        fit("lora", adapt())
    return place


@pytest.fixture(autouse=True)
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(made / "cache"))
    for name in ("base", "other", "lora"):
        shutil.copytree(made / name, tmp_path / name)
    write_corpus(tmp_path)
    return tmp_path


def last(folder: str) -> Path:
    return list_checkpoints(Path(folder) / "checkpoints")[-1]


def test_a_checkpoint_holds_what_is_trained_and_names_its_base(place: Path) -> None:
    state = read_checkpoint(last("lora"))
    assert all(".deltas.default." in name for name in state["state_dict"])
    assert len(state["state_dict"]) == 2 * 2 * 6  # layers, factors, places
    assert len(state["optimizer_states"][0]["state"]) == 2 * 2 * 6
    facts = read_manifest(last("lora"))["facts"]
    base = read_initial_weights("base").weights
    assert facts["base"]["sha256"] == hash_weights(base)
    assert facts["adaptation"]["class_path"].endswith(".LoRA")
    kept = next((place / "lora" / "base").iterdir())
    assert hash_weights(read_initial_weights(kept).weights) == hash_weights(base)


def test_the_base_takes_no_room_of_its_own_and_is_found_where_it_was(place: Path) -> None:
    fit("again", adapt())
    kept = next((place / "again" / "base").iterdir()) / "state.pt"
    assert kept.samefile(last("base") / "state.pt")
    shutil.rmtree("again/base")
    load_model("again")
    shutil.rmtree("base")
    with pytest.raises(CheckpointError, match=r"its base is gone.*Put a copy of them into"):
        load_model("again")
    shutil.copytree("other", "again/base/other")
    with pytest.raises(CheckpointError, match="another base"):
        load_model("again")


def test_only_what_is_trained_has_gradients_state_and_a_mean() -> None:
    run = tiny_run(SHORT, {"init_from": "base", "run": {"dir": "mean"}}, adapt(ema_decay=0.5))
    run.fit()
    module = run.module
    trained = set(trained_names(module))
    module.model(torch.arange(16)[None]).sum().backward()
    assert {name for name, p in module.named_parameters() if p.grad is not None} == trained
    (optimizer,) = run.trainer.optimizers
    names = {id(p): name for name, p in module.named_parameters()}
    assert {names[id(p)] for p in optimizer.state} == trained
    state = read_checkpoint(last("mean"))
    assert set(state["ema"]["mean"]) == set(state["ema"]["trained"]) == set(state["state_dict"]) == trained


def test_loaded_it_is_a_plain_model_that_does_the_same() -> None:
    run = tiny_run(SHORT, {"run": {"dir": "x"}}, adapt())
    loss = run.validate("lora")["val/loss"]
    assert loss == pytest.approx(
        float(outcome(Path("lora"))[0][-1]["val/loss"]), rel=1e-6
    )  # measured by the run itself
    model = load_model("lora", prefer="last").model
    assert isinstance(model.blocks[0].mlp.contract, nn.Linear)  # type: ignore[union-attr]
    assert isinstance(run.module.model.blocks[0].mlp.contract, AdaptedLinear)  # type: ignore[union-attr]
    tokens = torch.arange(16)[None]
    with torch.no_grad():
        attached = run.module.eval().model(tokens)
        # best is last here; a sum in another order
        torch.testing.assert_close(model(tokens), attached, rtol=1e-5, atol=1e-6)


def test_on_a_base_in_8_bits_run_and_loaded_model_compute_the_same() -> None:
    adaptation = {"class_path": "Int8Base", "init_args": {"adapter": {**LORA, "init_args": {"r": 2}}}}
    fit("int8", {"model": {"adaptation": adaptation, "optimizer": {"lr": 0.1}}})
    assert weights_of(Path("int8")).keys() == weights_of(Path("lora")).keys()
    logged = float(outcome(Path("int8"))[0][-1]["val/loss"])
    run = tiny_run(SHORT, {"run": {"dir": "x"}}, {"model": {"adaptation": adaptation}})
    assert run.validate("int8")["val/loss"] == pytest.approx(logged, rel=1e-6)
    model, tokens = load_model("int8", prefer="last").model, torch.arange(16)[None]
    assert isinstance(model.blocks[0].mlp.contract, nn.Linear)  # type: ignore[union-attr]
    assert run.module.model.blocks[0].mlp.contract.weight.dtype == torch.int8  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), run.module.eval().model(tokens), rtol=1e-5, atol=1e-6)
    attached = load_model("base").model  # beside others it is the adapter on the base as it is
    attach_adapters(attached, ["int8"], "base")
    assert all(layer.scales is None for _, layer in adapted_layers(attached))


def test_another_base_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=r"lora was trained on another base than other.*SHA-256"):
        generate_command("other", "a", adapter="lora", device="cpu")
    with pytest.raises(CheckpointError, match="holds a whole model and no adapter"):
        generate_command("other", "a", adapter="other", device="cpu")


def test_there_must_be_a_base(place: Path) -> None:
    with pytest.raises(ConfigError, match="--init_from RUN"):
        fit("none", adapt(), init_from=None)
    assert not (place / "none" / "config.yaml").exists()


def test_a_resume_needs_no_word_about_the_base_and_refuses_another() -> None:
    whole = outcome(Path("lora"))
    shutil.rmtree(last("lora"))
    shutil.rmtree("base")  # what the run keeps is enough
    with pytest.raises(CheckpointError, match="another base"):
        fit("lora", adapt(), init_from="other", resume="auto")
    assert fit("lora", adapt(), init_from=None, resume="auto").executed_steps == 2
    assert_equal(outcome(Path("lora")), whole)


def test_a_run_can_start_from_an_adapted_one() -> None:
    fit("next", {"model": {"optimizer": {"lr": 0.0}}}, init_from="lora")
    merged = load_model("lora").model.state_dict()
    found = weights_of(Path("next"))
    assert all(torch.equal(value, merged[name.removeprefix("model.")]) for name, value in found.items())


def test_trials_share_adapters_alone() -> None:
    """Entries of the store hold no base, and runs that share them end as from scratch."""
    settings = [adapt(schedule={"class_path": "WSD", "init_args": {"warmup": 0, "decay": d}}) for d in (0.5, 0.25)]
    fit("scratch", settings[1])
    reuse = Reuse(folder=Path("prefixes"), every=1)
    fit("first", settings[0], reuse=reuse)
    second = fit("second", settings[1], reuse=reuse)
    assert second.reused_steps > 0
    assert_equal(outcome(Path("second")), outcome(Path("scratch")))
    for entry in Path("prefixes").glob("0*/step-*/state.pt"):
        assert len(torch.load(entry)["state_dict"]) == 2 * 2 * 6
    other = fit("other-base", settings[1], init_from="other", reuse=reuse)
    assert other.reused_steps == 0


def test_generation_with_adapters(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    fit("lora-2", adapt(optimizer={"lr": 0.3}))
    capsys.readouterr()
    texts = {}
    asked = [("base", "base", None), ("merged", "lora-2", None), ("on", "base", ["lora-2", "lora"])]
    for name, model, adapter in asked:
        generate_command(model, "Para", adapter=adapter, temperature=0.0, max_tokens=12, device="cpu")
        texts[name] = capsys.readouterr().out
    assert texts["on"] == texts["merged"] != texts["base"]
    lines = ['{"prompt": "Para"}', '{"prompt": "Para", "adapter": ""}', '{"prompt": "Para", "adapter": "lora-2"}']
    Path("in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    generate_command(
        "base", input="in.jsonl", output="out.jsonl", adapter=["lora-2"], temperature=0.0, max_tokens=12, device="cpu"
    )
    found = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert found[0].split('"text"')[1] == found[2].split('"text"')[1] != found[1].split('"text"')[1]
    Path("in.jsonl").write_text('{"prompt": "a", "adapter": "x"}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no adapter of this name.*allowed: lora-2"):
        generate_command("base", input="in.jsonl", output="other.jsonl", adapter="lora-2", device="cpu")


def test_an_adapter_leaves_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("safetensors")
    export_checkpoint("lora", "theirs", adapter_only=True)
    assert "an adapter for GPT2LMHeadModel" in capsys.readouterr().out
    for model, adapter in (("lora", None), ("base", "theirs")):
        generate_command(model, "Para", adapter=adapter, temperature=0.0, max_tokens=12, device="cpu")
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    with pytest.raises(CheckpointError, match="Leave out --adapter_only"):
        export_checkpoint("base", "none", adapter_only=True)


@pytest.mark.slow
def test_an_adapter_begins_with_an_adapter(place: Path) -> None:
    """The base that it keeps is merged, so that no other processor merges it to other bits."""
    fit("second", adapt(), init_from="lora")
    shutil.rmtree("lora")
    (kept,) = Path("second/base").iterdir()
    assert "base" not in read_manifest(kept)["facts"]
    third = fit("third", adapt(), init_from="second")
    assert fit("third", adapt(), init_from="second", resume="auto").step == third.step
    told = read_initial_weights("third")
    assert told.tokenizer is not None
    shutil.rmtree("second")
    assert_equal(read_initial_weights("third").weights, told.weights)


@pytest.mark.slow
def test_a_run_keeps_its_vocabulary_for_other_texts(place: Path) -> None:
    """A vocabulary that was learned cannot be learned again from another text."""
    small = {"data": {"tokenizer": "bpe:300"}, "trainer": {"max_steps": 1}}
    fit("learned", small, init_from=None)
    Path("corpus.txt").write_text("Quite another text. " * 99, encoding="utf-8")
    settings = {"trainer.max_steps": 1, "data.block_size": 16, "data.val_fraction": 0.1, "run.sample_tokens": 0}
    told = build({"init_from": "learned", "data.source": "corpus.txt", "run.dir": "next"}, settings, adapt())
    assert told.config["data"]["tokenizer"] == "learned/tokenizer.json"
    assert told.fit().step == 1


def test_the_shipped_config_trains(place: Path) -> None:
    config = Path(__file__).parents[2] / "configs" / "finetune" / "lora.yaml"
    short = {"trainer.max_steps": 2, "data.source": "corpus.txt", "data.tokenizer": "bytes", "run.sample_tokens": 0}
    small = {"data.batch_size": 2, "data.block_size": 16, "data.val_fraction": 0.1}
    result = build(config, short, small, {"init_from": "base"}).fit()
    assert (result.step, result.folder) == (2, Path("runs") / "lora-1")
