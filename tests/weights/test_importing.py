"""Folders of other libraries: made by transformers, resized by stated rules, and refused when they lie."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import struct
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, locate
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.cli import main
from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer, write_tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json import describe_as_json
from gpt_lightning.errors import CheckpointError, ConfigError, UserError
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.foreign import read_foreign
from gpt_lightning.weights.gpt2 import to_gpt2
from gpt_lightning.weights.loading import load_model
from gpt_lightning.weights.resizing import resize
from gpt_lightning.weights.starting import read_initial_settings, read_initial_weights
from tests.selections import seldom
from tests.weights.models import GPT2, LLAMA, QWEN3, loud_model, small_tokenizer, write_run

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
MODERN: dict[str, Any] = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 40, "vocab_size": 320}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 100,
}
"""Wavelengths of 6, 30, 140 and 664 tokens: fast, between, slow, slow."""


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save_theirs(kind: str, folder: str = "theirs", *, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """A model of transformers with random weights, saved by itself, with a tokenizer.json beside it."""
    library: Any = transformers
    config = getattr(library, f"{kind}Config")(**settings)
    model = getattr(library, {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM"))(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model = model.to(dtype).eval()
    model.save_pretrained(folder, max_shard_size="30KB")
    Path(folder, "tokenizer.json").write_text(json.dumps(describe_as_json(small_tokenizer())))
    return model


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("GPT2", {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 40, "vocab_size": 320}),
        (
            "GPT2",
            {
                "n_layer": 2,
                "n_head": 2,
                "n_embd": 32,
                "n_positions": 40,
                "vocab_size": 300,
                "tie_word_embeddings": False,
            },
        ),
        ("Llama", {**MODERN, "tie_word_embeddings": True}),
        ("Llama", {**MODERN, "rope_parameters": LLAMA3}),
        ("Qwen3", {**MODERN, "head_dim": 16}),
    ],
    ids=["gpt2", "gpt2-untied", "llama-tied", "llama-stretched", "qwen3-heads"],
)
@torch.no_grad()
def test_what_transformers_saved_computes_the_same_here(kind: str, settings: dict[str, Any]) -> None:
    theirs = save_theirs(kind, **settings)
    assert len(list(Path("theirs").glob("*.safetensors"))) > 1, "sharded"
    ours = load_model("theirs")
    tokens = torch.randint(300, (2, 30), generator=torch.Generator().manual_seed(1))
    expected = theirs(tokens).logits[..., :300]
    assert (ours.model.logits(ours.model(tokens)) - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert ours.model.config.vocab_size == 300, "rows that no token has are left out"
    assert read_initial_weights("theirs").config == ours.model.config


def test_half_precision_enters_without_loss() -> None:
    theirs = save_theirs("Qwen3", **MODERN, head_dim=8, dtype=torch.bfloat16)
    ours = load_model("theirs").model.state_dict()
    assert ours["token_embedding.weight"].dtype == torch.float32
    assert torch.equal(ours["final_norm.weight"], theirs.model.norm.weight.float())


@pytest.mark.parametrize("legacy", [False, True])
def test_older_files_are_read_as_plain_data(legacy: bool) -> None:
    write_run(Path("run"), GPT2)
    assert main(["export", "run", "out"]) == 0
    expected = load_model("out").model.state_dict()
    weights = {name.removeprefix("transformer."): tensor for name, tensor in load_file("out/model.safetensors").items()}
    Path("out/model.safetensors").unlink()
    torch.save(weights, "out/pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    found = load_model("out").model.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_pickles_that_run_code_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (Path("ran").absolute(),)

    write_run(Path("run"), GPT2)
    assert main(["export", "run", "out"]) == 0
    Path("out/model.safetensors").unlink()
    for new in (True, False):
        torch.save({"wte.weight": Trap()}, "out/pytorch_model.bin", _use_new_zipfile_serialization=new)
        assert main(["import", "out", "--out", "back"]) == 3
        assert "would run code" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert not Path("back").exists()


def test_old_file_that_states_more_than_it_holds_is_refused_before_torch_sees_it(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1000)}, "old.bin", _use_new_zipfile_serialization=False)
    data = Path("old.bin").read_bytes()
    count = b"M\xe8\x03"  # the pickle of 1000
    assert count in data
    Path("old.bin").write_bytes(data.replace(count, b"\x8a\x06" + (1 << 40).to_bytes(6, "little")))
    with pytest.raises(CheckpointError, match=r"states 1,099,511,627,776 numbers"):
        read_initial_weights("old.bin")


def edit(file: str, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(Path("theirs", file).read_text())
    change(content)
    Path("theirs", file).write_text(json.dumps(content))


def lie_about_shape(name: str = "model.norm.weight") -> None:
    """A header that promises a petabyte."""
    path = sorted(Path("theirs").glob("model*.safetensors"))[-1]
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    key = name if name in header else next(key for key in header if key != "__metadata__")
    header[key]["shape"] = [1 << 48]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def drop_tensor(extra: str | None = None) -> None:
    path = sorted(Path("theirs").glob("model*.safetensors"))[-1]
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[-1])
    save_file(tensors | ({extra: torch.ones(1)} if extra else {}), path)


INDEX = "model.safetensors.index.json"
LIES: dict[str, tuple[Callable[[], Any], str]] = {
    "type": (
        lambda: edit("config.json", lambda c: c.update(model_type="mamba")),
        r"'mamba' \(allowed: model_type gpt2, l",
    ),
    "scaling": (
        lambda: edit("config.json", lambda c: c["rope_parameters"].update(rope_type="yarn", factor=4.0)),
        "type 'yarn'",
    ),
    "stretching": (
        lambda: edit("config.json", lambda c: c["rope_parameters"].update(rope_type="llama3", factor=-4.0)),
        "factor -4.0; low_freq_factor None; high_freq_factor None; original_max_position_embeddings None",
    ),
    "window": (lambda: edit("config.json", lambda c: c.update(use_sliding_window=True)), "use_sliding_window True"),
    "head_dim": (
        lambda: edit("config.json", lambda c: c.update(head_dim=64)),
        r"q_proj\.weight is \(32, 32\) where \(256, 32\)",
    ),
    "bias": (
        lambda: edit("config.json", lambda c: c.update(attention_bias=True, hidden_act="gelu")),
        "hidden_act 'gelu'.*att",
    ),
    "quantized": (lambda: edit("config.json", lambda c: c.update(quantization_config={})), "quantized weights"),
    "no size": (lambda: edit("config.json", lambda c: c.pop("hidden_size")), "no hidden_size"),
    "text": (lambda: edit("config.json", lambda c: c.update(hidden_size="32")), "wrong type|sizes|head_dim"),
    "layers": (
        lambda: edit("config.json", lambda c: c.update(num_hidden_layers=10**12, layer_types=None)),
        "states 10000",
    ),
    "vocabulary": (lambda: edit("config.json", lambda c: c.update(vocab_size=10**15)), "1000000000000000|no memory"),
    "width": (lambda: edit("config.json", lambda c: c.update(hidden_size=2**62, head_dim=2**60)), "no memory|where"),
    "no json": (lambda: Path("theirs/config.json").write_text("[" * 10**5), r"Cannot read theirs/config\.json"),
    "dots": (
        lambda: edit(INDEX, lambda c: c["weight_map"].update(x="../x.safetensors")),
        "outside its folder.*x.safetensors",
    ),
    "root": (lambda: edit(INDEX, lambda c: c["weight_map"].update(x="/etc/passwd")), "outside its folder.*passwd"),
    "missing file": (lambda: edit(INDEX, lambda c: c["weight_map"].update(x="other.safetensors")), "not there"),
    "no map": (lambda: Path("theirs", INDEX).write_text("{}"), "is damaged.*weight_map"),
    "header": (lie_about_shape, "is damaged"),
    "cut": (lambda: sorted(Path("theirs").glob("*.safetensors"))[0].write_bytes(b"\xff" * 40), "is damaged"),
    "lost": (drop_tensor, r"missing model\."),
    "extra": (lambda: drop_tensor("model.more"), r"missing model\..*unknown model\.more"),
    "no weights": (
        lambda: [path.rename(f"lost-{path.name}") for path in Path("theirs").glob("model*")],
        "holds no weights",
    ),
    "no tokenizer": (lambda: Path("theirs/tokenizer.json").unlink(), "there is no such file"),
}


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen3")
    save_theirs("Qwen3", str(folder), **MODERN, head_dim=8)
    return folder


@pytest.mark.parametrize("name", LIES)
def test_folders_that_lie_are_refused_in_one_line(qwen3: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("theirs").mkdir()
    for path in qwen3.iterdir():
        Path("theirs", path.name).write_bytes(path.read_bytes())
    change, message = LIES[name]
    change()
    assert main(["import", "theirs", "--out", "back"]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(message, told), told
    assert not Path("back").exists()
    assert not list(Path().glob(".writing*"))


def test_mistakes_as_typed(qwen3: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_theirs("Qwen3", "wide", **{**MODERN, "vocab_size": 1500, "head_dim": 8})
    for args, code, message in (
        ([str(qwen3)], 2, "out"),
        (["nowhere/there/is", "--out=back"], 3, "There is no nowhere/there/is"),
        (["owner/name", "--out=back"], 3, "hf download owner/name --local-dir"),
        ([str(qwen3), f"--out={qwen3}"], 3, "exists"),
        ([str(qwen3), "--out=back", "--vocab_size=7"], 3, "vocab_size is smaller than the tokenizer"),
        ([str(qwen3), "--out=back", "--block_size=0"], 2, "block_size is a count"),
        ([str(qwen3), "--out=back", "--tokenizer=chars"], 2, "learned"),
        ([str(qwen3), "--out=back", "--tokenizer=gpt2"], 3, "Import it with --vocab_size 50257"),
        (["wide", "--out=back", "--tokenizer=bytes"], 3, "Is it the model's?"),
    ):
        assert main(["import", *args]) == code, args
        assert message in capsys.readouterr().err
        assert not Path("back").exists()
    with pytest.raises(CheckpointError, match="gpt-lightning import"):
        locate(qwen3)


def test_sizes_change_when_asked(qwen3: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(qwen3), "--out=back", "--vocab_size=310", "--block_size=99"]) == 0
    assert "positions 40 -> 99" in capsys.readouterr().err
    config = load_model("back").model.config
    assert config.data_sizes() == (310, 99)
    settings = read_initial_settings("back")
    assert settings["model.config.block_size"] == 99
    assert settings["data.tokenizer"] == "back/tokenizer.json"


@torch.no_grad()
def test_larger_vocabulary_and_positions_leave_what_was_learned() -> None:
    before = dataclasses.replace(GPT2, tie_embeddings=False)
    after = dataclasses.replace(before, vocab_size=350, block_size=100, vocab_multiple=64)
    old = loud_model(before)
    new = GPT(after).eval()
    new.load_state_dict(resize(old.state_dict(), before, after))
    tokens = torch.randint(300, (2, 48), generator=torch.Generator().manual_seed(1))
    expected, found = old.logits(old(tokens)), new.logits(new(tokens))
    torch.testing.assert_close(found[..., :300], expected, rtol=0, atol=1e-6)
    # A new token scores as an average one.
    torch.testing.assert_close(found[..., 300:], expected.mean(-1, keepdim=True).expand(-1, -1, 50), rtol=0, atol=1e-5)
    assert not new.head.weight[350:].any()  # type: ignore[union-attr]
    positions = new.position_embedding.weight
    assert torch.equal(positions[48:96], old.position_embedding.weight)
    assert torch.equal(positions[96:], old.position_embedding.weight[:4])
    back = resize(new.state_dict(), after, before)
    assert all(torch.equal(tensor, back[name]) for name, tensor in old.state_dict().items())


def test_bigrams_keep_their_vocabulary() -> None:
    config = dataclasses.replace(QWEN3, bigram_rows=9)
    with pytest.raises(ConfigError, match="bigram_rows"):
        resize(GPT(config).state_dict(), config, dataclasses.replace(config, vocab_size=301))


def test_starting_weights_follow_the_wanted_sizes_and_nothing_else() -> None:
    write_run(Path("run"), LLAMA)
    initial = read_initial_weights("run")
    wanted = dataclasses.replace(LLAMA, vocab_size=301, block_size=1000, vocab_multiple=1)
    GPT(wanted).load_state_dict(initial.fit(wanted))
    with pytest.raises(CheckpointError, match=r"mlp\.expand\.weight is"):
        initial.fit(dataclasses.replace(LLAMA, n_inner=8))
    other = {"name": "bytes", "fingerprint": "0" * 64}
    with pytest.raises(UserError, match=r"run\.allow_changes"):
        initial.check_tokenizer(other, [])
    initial.check_tokenizer(other, ["data.tokenizer"])
    initial.check_tokenizer(small_tokenizer().describe(), [])


def test_given_tokenizer_replaces_the_folder_s(qwen3: Path) -> None:
    found = read_foreign(qwen3, tokenizer=small_tokenizer(), vocab_size=320)
    assert (found.config.vocab_size, found.notes) == (320, ())
    assert isinstance(found.weights["token_embedding.weight"], Tensor)
    assert isinstance(found.config, GPTConfig)


def chatty_tokenizer() -> EncodingTokenizer:
    known = train_vocabulary(["it's 1234 hello world"], 257)
    return EncodingTokenizer(dataclasses.replace(known, specials={"<|endoftext|>": 256, "<|im_end|>": 257}))


@pytest.mark.parametrize("eos", [257, [256, 257]], ids=["number", "list"])
@pytest.mark.parametrize("file", ["generation_config.json", *seldom("config.json")])
def test_an_imported_chat_model_stops(file: str, eos: Any, capsys: pytest.CaptureFixture[str]) -> None:
    save_theirs("Qwen3", **{**MODERN, "vocab_size": 258}, head_dim=8)
    Path("theirs/tokenizer.json").write_text(json.dumps(describe_as_json(chatty_tokenizer())))
    Path("theirs/generation_config.json").write_text("{}")
    edit("config.json", lambda content: content.update(eos_token_id=None))
    edit(file, lambda content: content.update(eos_token_id=eos))
    assert main(["import", "theirs", "--out", "back"]) == 0
    Path("prompts.jsonl").write_text('{"prompt": "hello"}\n')
    for folder in ("theirs", "back"):
        loaded = load_model(folder)
        assert set(loaded.tokenizer.end_ids) == {257, *([256] if isinstance(eos, list) else [])}
        # So large a bias decides: the model says nothing but the end of a turn.
        capsys.readouterr()
        bias = '--logit_bias={"257": 50}'
        assert main(["generate", folder, "--prompt=hello", "--temperature=0", "--max_tokens=9", bias]) == 0
        assert capsys.readouterr().out == "hello\n"
        files = ["--input=prompts.jsonl", f"--output={folder}.jsonl"]
        assert main(["generate", folder, *files, "--temperature=0", "--max_tokens=9", bias]) == 0
        answer = json.loads(Path(f"{folder}.jsonl").read_text())
        assert (answer["text"], answer["finish_reason"]) == ("", "stop")


def test_an_imported_model_meets_its_own_begin_of_text() -> None:
    """In a prompt, a measured text, a prepared document and a conversation; and the export says so to others."""
    save_theirs("Llama", **{**MODERN, "vocab_size": 258})
    known = train_vocabulary(["it's 1234 hello world"], 257)
    specials = {"</s>": 256, "<s>": 257}
    tokenizer = EncodingTokenizer(dataclasses.replace(known, specials=specials, end_of_text="</s>"))
    Path("theirs/tokenizer.json").write_text(json.dumps(describe_as_json(tokenizer.beginning_with(257))))
    assert main(["import", "theirs", "--out", "back"]) == 0
    assert main(["export", "back", "--output", "out"]) == 0
    Path("text.txt").write_text("hello world")
    for folder in ("theirs", "back", "out"):
        loaded = load_model(folder)
        assert encode_prompt(loaded.tokenizer, "hello") == [257, *b"hello"]
        items, _ = measure_documents(loaded, [Document("hello", "a", 5)], Reach(40, 40))
        with torch.no_grad():
            logits = loaded.model.logits(loaded.model(torch.tensor([[257, *b"hell"]])))
        expected = torch.nn.functional.cross_entropy(logits[0], torch.tensor(list(b"hello")), reduction="sum")
        found = items[0].outcomes[""]
        assert isinstance(found, Likelihood)
        assert found.nats == pytest.approx(float(expected), rel=1e-5)
        written = Transcript(loaded.tokenizer).encode([Message("user", "Hi")])
        assert written[0] == 257
        write_tokenizer(loaded.tokenizer, Path("tokenizer.json"))
        store = prepare(PrepareSettings("text.txt", "tokenizer.json", val_fraction=0), store="store")
        assert store.split("train").gather(np.array([0]), 13)[0].tolist() == [256, 257, *b"hello world"]
        shutil.rmtree("store")
    library: Any = transformers
    theirs = library.AutoTokenizer.from_pretrained("out")
    assert theirs("hello").input_ids == [257, *b"hello"]
    talk = [{"role": "user", "content": "Hi"}]
    assert theirs.apply_chat_template(talk, add_generation_prompt=True, return_dict=False) == written


def add_buffers(kind: str) -> dict[str, Tensor]:
    mask = torch.ones(1, 1, 40, 40).tril()
    if kind == "GPT2":
        return {
            "transformer.h.0.attn.bias": mask.bool(),
            "transformer.h.1.attn.bias": mask.to(torch.uint8),
            "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        }
    return {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.rotary_emb.inv_freq": torch.ones(4, dtype=torch.float64),
        "model.layers.1.self_attn.bias": mask.bool(),
        "model.layers.1.self_attn.masked_bias": torch.tensor(-1e9),
        "model.layers.1.self_attn.rotary_emb.cos_cached": torch.ones(1, 1, 40, 8),
        "model.embed_tokens.position_ids": torch.arange(40),
    }


FEW_GPT2: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 40, "vocab_size": 320}


@pytest.mark.parametrize(
    ("kind", "sizes"), [("GPT2", FEW_GPT2), ("Llama", MODERN), ("Qwen3", {**MODERN, "head_dim": 8})]
)
@pytest.mark.parametrize("prefix", ["", "module._orig_mod."])
def test_buffers_and_the_names_of_wrappers_are_passed_over(kind: str, sizes: dict[str, Any], prefix: str) -> None:
    save_theirs(kind, **sizes)
    expected = load_model("theirs").model.state_dict()
    tensors: dict[str, Tensor] = {}
    for path in Path("theirs").glob("model*"):
        tensors |= load_file(path) if path.suffix == ".safetensors" else {}
        path.unlink()
    told = {f"{prefix}{name}": tensor for name, tensor in (tensors | add_buffers(kind)).items()}
    for write in (
        lambda: save_file(told, "theirs/model.safetensors"),
        lambda: torch.save(told, "theirs/pytorch_model.bin"),
    ):
        write()
        found = load_model("theirs").model.state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
        for path in Path("theirs").glob("*model.*"):
            path.unlink()


def test_an_integer_weight_is_still_refused(capsys: pytest.CaptureFixture[str]) -> None:
    save_theirs("GPT2", **FEW_GPT2)
    path = sorted(Path("theirs").glob("model*.safetensors"))[0]
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name].to(torch.int8)}, path)
    assert main(["import", "theirs", "--out", "back"]) == 3
    assert "not a quantized copy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"pretraining_tp": 2},
        {"rope_scaling": {"type": "linear", "factor": 1.0}, "rope_parameters": None},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 1.0}, "rope_parameters": None},
        {"rope_parameters": {**LLAMA3, "rope_theta": 10000.0, "factor": 1.0}},
    ],
    ids=["tp", "linear", "dynamic", "llama3"],
)
def test_settings_that_change_nothing_are_no_obstacle(change: dict[str, Any]) -> None:
    save_theirs("Llama", **MODERN)
    before = load_model("theirs").model.config
    edit("config.json", lambda content: content.update(change))
    assert load_model("theirs").model.config == before


def test_a_factor_that_changes_something_still_is_one() -> None:
    save_theirs("Llama", **MODERN)
    for scaling in ({"type": "linear", "factor": 2.0}, {"rope_type": "yarn", "factor": 1.0, "attention_factor": 2.0}):
        edit("config.json", methodcaller("update", rope_scaling=scaling, rope_parameters=None))
        with pytest.raises(CheckpointError, match="rotary positions of type"):
            load_model("theirs")


def test_a_head_that_differs_although_tied_says_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    save_theirs("GPT2", **{**FEW_GPT2, "tie_word_embeddings": False})
    edit("config.json", lambda content: content.update(tie_word_embeddings=True))
    assert main(["import", "theirs", "--out", "back"]) == 3
    assert "to false (tie_word_embeddings in its config.json)" in capsys.readouterr().err
    edit("config.json", lambda content: content.update(tie_word_embeddings=False))
    assert main(["import", "theirs", "--out", "back"]) == 0


@pytest.mark.parametrize("wrap", ["", "_orig_mod.", "module.", "model._orig_mod."])
@pytest.mark.parametrize("under", [None, "model", "state_dict"])
def test_files_of_weights_may_be_wrapped(wrap: str, under: str | None) -> None:
    model = loud_model(GPT2)
    state: dict[str, Any] = {f"{wrap}{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(state if under is None else {under: state, "step": 3}, "weights.pt")
    found = read_initial_weights("weights.pt").fit(GPT2)
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("layout", ["nanogpt", "released"])
def test_a_checkpoint_of_nanogpt_is_taken_with_its_sizes(layout: str) -> None:
    model = loud_model(GPT2)
    theirs = to_gpt2(model.state_dict(), GPT2)
    if layout == "nanogpt":  # the same names, in PyTorch's layout, wrapped by torch.compile
        matrices = re.compile(r".*(c_attn|c_proj|c_fc)\.weight")
        theirs = {key: tensor.t() if matrices.fullmatch(key) else tensor for key, tensor in theirs.items()}
        theirs = {f"_orig_mod.{key}": tensor.contiguous() for key, tensor in theirs.items()}
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 48, "vocab_size": 300, "bias": True, "dropout": 0.1}
    torch.save({"model": theirs, "model_args": sizes, "iter_num": 7, "config": {"x": "y"}}, "ckpt.pt")
    initial = read_initial_weights("ckpt.pt")
    assert initial.config == GPT2
    assert read_initial_settings("ckpt.pt")["model.config.n_embd"] == 32
    found = initial.fit(GPT2)
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


def test_files_that_are_no_weights_are_told(tmp_path: Path) -> None:
    torch.save({"optimizer": {"lr": 1.0}, "epoch": 3}, "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt holds 'optimizer', which is no tensor"):
        read_initial_weights("other.pt")
    torch.save({"transformer.wte.weight": torch.ones(3, 2), "transformer.more": torch.ones(1)}, "more.pt")
    with pytest.raises(CheckpointError, match=r"more is no weight of GPT-2"):
        read_initial_weights("more.pt")


def test_weights_that_hold_nan_are_told_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"), GPT2)
    assert main(["export", "run", "out"]) == 0
    model = loud_model(GPT2)
    with torch.no_grad():
        model.blocks[1].mlp.expand.weight[3, 2] = float("nan")  # type: ignore[union-attr, operator]
    card = {"model": GPT2.to_dict(), "tokenizer": small_tokenizer().describe()}
    state = {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "gpt_lightning": card,
    }
    write_checkpoint(Path("bad") / CHECKPOINTS_DIR, step=5, state=state, facts={"model": card["model"]})
    save_file(
        {
            name: tensor.clone()
            for name, tensor in to_gpt2(model.state_dict(), GPT2).items()
            if name != "lm_head.weight"
        },
        "out/model.safetensors",
    )
    Path("text.txt").write_text("hello world")
    capsys.readouterr()
    for args in (
        ["generate", "bad"],
        ["generate", "bad", "--beams=2"],
        ["export", "bad", "gone", "--verify"],
        ["evaluate", "ppl", "bad", "text.txt"],
        ["import", "out", "--out=gone"],
        ["generate", "out"],
    ):
        assert main(args) == 3, args
        told = capsys.readouterr()
        assert re.search(r"The weights of .* hold NaN, in blocks\.1\.mlp\.expand\.weight: training", told.err), told
        assert told.err.count("\n") == 1
        assert not Path("gone").exists()
    for place in ("bad", "out"):
        with pytest.raises(CheckpointError, match=r"hold NaN, in blocks\.1\.mlp\.expand\.weight"):
            read_initial_weights(place)
