from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning import cli
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.tokenizers.bpe import Vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.weights.loading import LoadedModel
from tests.generation.models import tiny_model, write_run

TEXTS = ["The first text, which is longer than a window of sixteen.", "短文。", "x"]


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(write_run(tmp_path / "run", steps=(1,)))


def ask(*args: str) -> int:
    return cli.main(["evaluate", "ppl", *args])


def naive(text: str, stride: int = 8, begin: bool = True) -> tuple[float, int]:
    """Nats and bytes of a text by its bytes, one forward pass a token."""
    model, ids = tiny_model(1), [*([256] if begin else []), *text.encode()]
    nats = 0.0
    for target in range(1, len(ids)):
        start = max(0, -(-(target - 16) // stride)) * stride
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([ids[start:target]]))[0, -1]).double()
        nats -= float(logits.log_softmax(-1)[ids[target]])
    return nats, len(ids) - 1


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("begin", ["eot", "none"])
@pytest.mark.parametrize("stride", [8, 16])
def test_numbers_are_the_naive_loops(run: str, tmp_path: Path, stride: int, begin: str) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    out = tmp_path / "out.json"
    assert ask(run, str(file), "--stride", str(stride), "--begin", begin, "--output", str(out)) == 0
    sums = [naive(text, stride, begin == "eot") for text in TEXTS]
    nats, tokens = (sum(column) for column in zip(*sums, strict=True))
    found = read(out)
    assert found["scores"]["loss"] == pytest.approx(nats / tokens, rel=1e-6)
    assert found["scores"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-6)
    assert found["scores"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / tokens, rel=1e-6)
    assert found["settings"] == {"window": 16, "stride": stride, "begin": begin}
    documents = found["tables"]["By document"]["rows"]
    assert [row[0].rpartition(":")[2] for row in documents] == (["1", "2", "3"] if begin == "eot" else ["1", "2"])
    assert documents[0][2] == pytest.approx(sums[0][0] / sums[0][1], rel=1e-6)
    assert sum(row[1] for row in found["tables"]["By context"]["rows"]) == tokens


def test_batch_size_changes_nothing(run: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS * 3))
    losses = []
    for size in ("1", "5"):
        out = tmp_path / f"{size}.json"
        assert (
            ask(run, str(tmp_path / "a.txt"), "--document_per", "line", "--batch_size", size, "--output", str(out)) == 0
        )
        losses.append(read(out)["scores"]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_reduced_weights_are_noted_and_close(run: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    found = {}
    for weights in ("float32", "bfloat16", "float16", "int8"):
        out = tmp_path / f"{weights}.json"
        assert ask(run, str(tmp_path / "a.txt"), "--weights", weights, "--output", str(out)) == 0
        found[weights] = read(out)
    assert [each["settings"].get("weights") for each in found.values()] == [None, "bfloat16", "float16", "int8"]
    losses = [each["scores"]["loss"] for each in found.values()]
    assert losses == pytest.approx([losses[0]] * 4, abs=0.01)
    assert len(set(losses)) == 4


def test_an_exported_folder_is_measured_as_it_is(run: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    assert cli.main(["export", run, str(tmp_path / "exported")]) == 0
    scores = []
    for model in (run, str(tmp_path / "exported")):
        assert ask(model, str(tmp_path / "a.txt"), "--output", str(tmp_path / "out.json")) == 0
        scores.append(read(tmp_path / "out.json")["scores"])
    assert scores[0] == scores[1]


def test_the_table(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    assert ask(run, str(tmp_path / "a.txt")) == 0
    shown = capsys.readouterr().out
    for piece in ("window 16, stride 8, begin eot", "perplexity", "bits_per_byte", "By context:", "8-15"):
        assert piece in shown


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (("--window", "17"), 2, "got 17 (allowed: 1 to block_size=16)"),
        (("--stride", "0"), 2, "stride is the step of the window: got 0"),
        (("--begin", "bos"), 2, "got 'bos' (allowed: eot, none)"),
        (("--limit", "0"), 2, "limit counts documents"),
        (("--batch_size", "0"), 2, "batch_size counts windows"),
        (("--prefer", "first"), 2, "allowed: best, last"),
        (("--weights", "int4"), 2, "allowed: float32, bfloat16, float16, int8"),
        (("--device", "tpu"), 2, "This machine has no such device"),
        (("--document_per", "word"), 2, "allowed: file, line, paragraph"),
        (("--strid", "4"), 2, "Did you mean --stride?"),
    ],
)
def test_wrong_settings(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert ask(run, str(tmp_path / "a.txt"), *extra) == code
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"txt": 1}\n', "a.jsonl:2 has no text in the field 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{\n', "a.jsonl:2 is not JSON"),
        ("a.txt", b"", "nothing to predict"),
        ("a.txt", b"\xff\xfe\xff", "is no text: it is utf-16"),
    ],
)
def test_broken_texts(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert ask(run, str(tmp_path / name), "--output", str(tmp_path / "out.json")) == 3
    assert message.lower() in capsys.readouterr().err.lower()
    assert not (tmp_path / "out.json").exists()


def test_missing_files_and_models(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(run, str(tmp_path / "none.txt")) == 3
    assert ask(str(tmp_path / "no-run"), __file__) == 3
    assert ask(run) == 2
    assert "Required: --files" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "letters", "size"), [("NFC", "e\u0301", 3), ("NFKC", "\ufb01", 3)])
def test_bytes_are_those_of_the_text_not_of_its_normal_form(form: str, letters: str, size: int) -> None:
    tokens = tuple(bytes([value]) for value in range(256))
    vocabulary = Vocabulary("x", r"[\s\S]", tokens, {"<|endoftext|>": 256}, normalization=form)
    loaded = LoadedModel(tiny_model(1), EncodingTokenizer(vocabulary), {}, Path())
    documents = [Document(letters * 40, "a", 0)]
    for begin, expected in (("eot", 40 * size), ("none", 40 * size - 1)):
        items, _ = measure_documents(loaded, documents, Reach(16, 8, begin))
        likelihood = items[0].outcomes[""]
        assert isinstance(likelihood, Likelihood)
        assert (likelihood.num_bytes, likelihood.num_tokens) == (expected, 80 if begin == "eot" else 79)
