"""Exported folders, loaded by transformers, and taken back."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from torch import Tensor

from gpt_lightning.cli import main
from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.kinds import CharTokenizer, EncodingTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights import verifying
from gpt_lightning.weights.exporting import parse_size, prepare_export, write_export
from gpt_lightning.weights.families import choose_family, read_settings, write_settings
from gpt_lightning.weights.loading import load_model
from gpt_lightning.weights.verifying import draw_texts
from tests.ulps import OTHER_CODE, PLANTED, distance_in_ulps
from tests.weights.models import CONFIGS, GPT2, LLAMA, QWEN3, loud_model, small_tokenizer, write_run

LARGE = ("gpt2-medium", "gpt2-large", "gpt2-xl", "modern-medium", "modern-large")
PRESETS: list[Any] = ["gpt2", "modern-nano", "modern-small"]
PRESETS += [pytest.param(name, marks=pytest.mark.slow) for name in LARGE]
QUICK = ("gpt2", "llama-stretched", "qwen3-heads")
"""The others differ from these in what the tables of names and the round trip cover."""
EACH = [
    pytest.param(config, id=name, marks=[] if name in QUICK else pytest.mark.slow) for name, config in CONFIGS.items()
]


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def export(*args: str) -> None:
    assert main(["export", "run", "out", *args]) == 0


def load_theirs(folder: str = "out") -> Any:
    auto: Any = transformers.AutoModelForCausalLM
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def tokens(config: GPTConfig) -> Tensor:
    return torch.randint(300, (3, 40), generator=torch.Generator().manual_seed(1))


def equal(one: dict[str, Tensor], other: dict[str, Tensor], config: GPTConfig) -> bool:
    """Bit for bit, but for the rows that only fill up the vocabulary."""
    rows = {name: 300 if name in ("token_embedding.weight", "head.weight") else None for name in one}
    return one.keys() == other.keys() and all(
        torch.equal(one[name][: rows[name]], other[name][: rows[name]]) for name in one
    )


@pytest.mark.parametrize("config", EACH)
@torch.no_grad()
def test_transformers_computes_and_writes_the_same_and_the_way_back_is_exact(config: GPTConfig) -> None:
    ours = write_run(Path("run"), config)
    export()
    theirs = load_theirs()
    assert type(theirs).__name__ == choose_family(config).class_name
    logits = ours.logits(ours(tokens(config)))
    assert logits.std() > 0.5
    assert distance_in_ulps(theirs(tokens(config)).logits, logits) < OTHER_CODE
    assert main(["import", "out", "--out", "back"]) == 0
    for folder in ("out", "back"):
        back = load_model(folder)
        assert back.model.config == config
        assert equal(back.model.state_dict(), ours.state_dict(), config)
        assert back.tokenizer.fingerprint == small_tokenizer().fingerprint
    prompts = [tokens(config)[row, : 3 + 5 * row].tolist() for row in range(3)]
    asked = [Request(each, max_tokens=20, sampling=Sampling(temperature=0.0), stop_ids=()) for each in prompts]
    together = Engine(ours, slots=2).generate(asked)
    for prompt, (completion,) in zip(prompts, together, strict=True):
        written = theirs.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None)
        assert written[0, len(prompt) :].tolist() == list(completion.ids) == without_cache(ours, prompt, 20)


def without_cache(model: GPT, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens, the whole text read again for each."""
    text = list(prompt)
    for _ in range(count):
        text.append(int(model.logits(model(torch.tensor([text])))[0, -1].argmax()))
    return text[len(prompt) :]


def test_their_tokenizer_and_chat_template(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"), QWEN3)
    export()
    theirs = transformers.AutoTokenizer.from_pretrained("out")
    ours = small_tokenizer()
    for text in draw_texts(ours, 300, seed=1):
        assert theirs(text)["input_ids"] == ours.encode(text).tolist()
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.model_max_length) == (299, 299, 48)
    talk = [{"role": "user", "content": "hello\n"}, {"role": "assistant", "content": "world"}]
    assert theirs.apply_chat_template(talk, tokenize=False) == (
        "<|endoftext|>User: hello\n\nAssistant: world<|endoftext|>\n"
    )
    told: Any = theirs.apply_chat_template(talk, return_assistant_tokens_mask=True, return_dict=True)
    learned = [number for number, mask in zip(told["input_ids"], told["assistant_masks"], strict=True) if mask]
    assert theirs.decode(learned) == " world<|endoftext|>"
    asked = theirs.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|endoftext|>User: hello\n\nAssistant:"


def marked_tokenizer() -> Tokenizer:
    known = train_vocabulary(["it's 1234 hello world\n\n user assistant"], 297)
    specials = {"<|endoftext|>": 297, "<|im_start|>": 298, "<|im_end|>": 299}
    return EncodingTokenizer(dataclasses.replace(known, tokens=known.tokens[:297], specials=specials))


@pytest.mark.parametrize("make", [small_tokenizer, marked_tokenizer], ids=["plain", "marked"])
def test_the_template_that_leaves_gives_the_ids_that_chat_feeds(make: Callable[[], Tokenizer]) -> None:
    ours = make()
    write_run(Path("run"), dataclasses.replace(QWEN3, vocab_size=ours.vocab_size), ours)
    export()
    theirs: Any = transformers.AutoTokenizer.from_pretrained("out")
    transcript, chance = Transcript(ours), random.Random(0)
    for _ in range(60):
        roles = ["system"] * chance.randint(0, 1) + ["user", "assistant"] * chance.randint(1, 4)
        talk = [
            Message(role, text)
            for role, text in zip(roles, draw_texts(ours, len(roles), chance.randrange(9999)), strict=True)
        ]
        asked = [dataclasses.asdict(message) for message in talk[:-1]]
        told = theirs.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert transcript.encode(talk[:-1]) == told
        # And what was answered begins where that ended, so that training sees what chat feeds.
        whole = theirs.apply_chat_template([dataclasses.asdict(message) for message in talk])
        assert whole["input_ids"][: len(told)] == told
    ends = json.loads(Path("out/generation_config.json").read_text())["eos_token_id"]
    assert set(transcript.stop_ids) == ({ends} if isinstance(ends, int) else set(ends))
    assert set(load_model("out").tokenizer.end_ids) == set(transcript.stop_ids)


def test_shards_formats_and_numbers() -> None:
    ours = write_run(Path("run"), LLAMA)
    export("--max_shard_size=20KB", "--dtype=bfloat16")
    index = json.loads(Path("out/model.safetensors.index.json").read_text())
    files = sorted(path.name for path in Path("out").glob("*.safetensors"))
    assert len(files) > 3
    assert set(index["weight_map"].values()) == set(files)
    for name in files:
        with safe_open(f"out/{name}", framework="pt") as file:
            assert all(file.get_tensor(key).dtype == torch.bfloat16 for key in file.keys())  # noqa: SIM118
    settings = json.loads(Path("out/config.json").read_text())
    assert settings["dtype"] == settings["torch_dtype"] == "bfloat16"
    assert settings["rope_theta"] == settings["rope_parameters"]["rope_theta"] == 5000.0
    assert load_theirs().dtype == torch.bfloat16
    rounded = {name: tensor.bfloat16().float() for name, tensor in ours.state_dict().items()}
    assert equal(load_model("out").model.state_dict(), rounded, LLAMA)


@pytest.mark.parametrize("transformers_there", [True, False])
def test_verify(transformers_there: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "find_transformers", lambda: transformers_there)
    write_run(Path("run"), QWEN3, CharTokenizer("".join(map(chr, range(300, 599)))))
    export("--verify", "--dtype=bfloat16")
    reader = "through transformers" if transformers_there else "through our own import"
    assert reader in capsys.readouterr().out


def test_verify_notices_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"), QWEN3)
    monkeypatch.setattr(verifying, "find_transformers", lambda: False)
    monkeypatch.setattr(
        verifying, "load_model", lambda folder: dataclasses.replace(load_model(folder), model=loud_model(QWEN3, 7))
    )
    assert main(["export", "run", "out", "--verify"]) == 3
    assert "gives other logits" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_card(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"source": "my|corpus.txt", "block_size": 48}
    optimizer = {"class_path": "gpt_lightning.optim.optimizers.AdamW"}
    config = {"data": data, "model": {"optimizer": optimizer}, "trainer": {"max_steps": 5}}
    write_run(
        Path("run"), dataclasses.replace(GPT2, tie_embeddings=False), card={"config": config, "data_fingerprint": "abc"}
    )
    Path("run/metrics.jsonl").write_text('{"step": 3, "val/loss": 9.0}\n{"step": 5, "val/loss": 1.25}\n{"step"')
    Path("scores.json").write_text('{"lambada": {"accuracy": 0.5, "name": "x"}}')
    export("--license=apache-2.0", "--scores=scores.json")
    card = Path("out/README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    for line in ("| data.source | my\\|corpus.txt |", "| optimizer | AdamW |", "| val/loss | 1.25 |"):
        assert line in card
    assert "| lambada.accuracy | 0.5 |" in card
    assert "vLLM always ties" in card
    assert "vLLM always ties" in capsys.readouterr().err


def test_rows_that_no_token_has_stay_at_home(capsys: pytest.CaptureFixture[str]) -> None:
    wide = dataclasses.replace(QWEN3, vocab_size=320)
    ours = write_run(Path("run"), wide)
    export()
    assert "20 rows" in capsys.readouterr().err
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == 300
    back = load_model("out").model
    logits = ours.logits(ours(tokens(wide)))[..., :300]
    # A product with fewer rows may be cut otherwise.
    assert distance_in_ulps(back.logits(back(tokens(wide))), logits) < OTHER_CODE
    assert distance_in_ulps(back.logits(back(tokens(wide))), logits.roll(1, dims=-1)) > PLANTED


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_leave_and_return(name: str) -> None:
    config = GPTConfig.preset(name)
    family = choose_family(config)
    settings = write_settings(config, family)
    assert read_settings(settings, "here") == config
    theirs: Any = transformers.AutoConfig.for_model(
        **{key: value for key, value in settings.items() if key != "architectures"}
    )
    with torch.device("meta"):
        auto: Any = transformers.AutoModelForCausalLM
        shapes = {key: tensor.shape for key, tensor in auto.from_config(theirs).state_dict().items()}
        given = family.give(GPT(config).state_dict(), config)
    assert {key: tensor.shape for key, tensor in given.items()} == shapes
    family.check(shapes, config)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"mlp": "relu2", "smear": True}, ["mlp='relu2'", "smear=True"]),
        ({"window": 8}, ["window=8"]),
        ({"logit_softcap": 9.0, "value_embeddings": True, "bigram_rows": 7}, ["logit_softcap", "value_emb", "bigram"]),
    ],
    ids=str,
)
def test_what_cannot_be_expressed_is_refused_with_the_reasons(
    changes: dict[str, Any], reasons: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(Path("run"), dataclasses.replace(QWEN3, **changes))
    assert main(["export", "run", "out"]) == 2
    told = capsys.readouterr().err
    assert "Qwen3ForCausalLM" in told
    assert all(reason in told for reason in reasons)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["out", "--dtype=int8"], 2, "float32, bfloat16, float16"),
        (["out", "--max_shard_size=lots"], 2, "max_shard_size is not a size"),
        (["out", "--prefer=newest"], 2, "best, last"),
        (["run"], 3, "run exists"),
        (["run/checkpoints/step-000000005/state.pt/x"], 3, "is a file"),
        (["weights.pt"], 2, "--consolidate"),
        (["out", "--consolidate", "--verify"], 2, "either these or --consolidate"),
        (["out", "--scores=none.json"], 3, "Cannot read none.json"),
        ([], 2, "output"),
    ],
    ids=str,
)
def test_mistakes(args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"), GPT2)
    assert main(["export", "run", *args]) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    write_run(Path("run"), GPT2)
    monkeypatch.setattr("safetensors.torch.save_file", refuse)
    assert main(["export", "run", "deep/out"]) == 3
    assert "No space left" in capsys.readouterr().err
    assert not list(Path("deep").iterdir())


def test_vocabulary_larger_than_the_model_is_refused() -> None:
    write_run(Path("run"), dataclasses.replace(QWEN3, vocab_size=299))
    with pytest.raises(CheckpointError, match="299 rows of the embedding for 300 token ids"):
        prepare_export(load_model("run"))


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("1.5 KiB", 1536), ("12", 12), ("2mb", 2 * 10**6)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    for wrong in ("", "0GB", "-1GB", "5 apples", "GB"):
        with pytest.raises(ConfigError):
            parse_size(wrong)


def test_export_from_python(tmp_path: Path) -> None:
    write_run(Path("run"), LLAMA)
    prepared = prepare_export(load_model("run"), "float16")
    Path("mine").mkdir()
    write_export(prepared, Path("mine"))
    assert load_model("mine").model.config == LLAMA
