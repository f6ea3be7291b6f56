"""Token files as other programs write them, made here byte by byte from the descriptions of their formats."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning import cli
from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store.external import ForeignStore, find_token_files, open_foreign
from gpt_lightning.data.stream.packing import Document
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, Tokenizer
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.errors import DataError
from tests.data.stores import wide_tokenizer

EOT = 256
DOCUMENTS = [[3, 1, 4], [1, 5, 9, 2, 6], [5], [3, 5, 8, 9, 7, 9]]
OPENED = [[EOT, *document] for document in DOCUMENTS]
CLOSED = [[*document, EOT] for document in DOCUMENTS]


def flat(documents: list[list[int]]) -> list[int]:
    return [token for document in documents for token in document]


def write_nano_gpt(path: Path, documents: list[list[int]]) -> Path:
    path.write_bytes(b"".join(struct.pack("<H", token) for token in flat(documents)))
    return path


def write_llm_c(path: Path, documents: list[list[int]], *, wide: bool = False) -> Path:
    tokens = flat(documents)
    header = struct.pack("<256i", *((20240801, 7) if wide else (20240520, 1)), len(tokens), *[0] * 253)
    path.write_bytes(header + struct.pack(f"<{len(tokens)}{'I' if wide else 'H'}", *tokens))
    return path


def write_megatron(prefix: Path, documents: list[list[int]], *, code: int = 8, cut: bool = False) -> Path:
    """With ``cut``, every document is two sequences (as after splitting into sentences)."""
    sequences = [part for document in documents for part in ((document[:1], document[1:]) if cut else (document,))]
    width = {4: 4, 8: 2}[code]
    starts = np.cumsum([0, *(len(part) for part in sequences)])[:-1]
    borders = [0, *(number * (2 if cut else 1) for number in range(1, len(documents) + 1))]
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(sequences), len(borders))
    index += struct.pack(f"<{len(sequences)}i", *(len(part) for part in sequences))
    index += struct.pack(f"<{len(sequences)}q", *(int(start) * width for start in starts))
    index += struct.pack(f"<{len(borders)}q", *borders)
    Path(f"{prefix}.idx").write_bytes(index)
    tokens = flat(documents)
    path = Path(f"{prefix}.bin")
    path.write_bytes(struct.pack(f"<{len(tokens)}{'i' if width == 4 else 'H'}", *tokens))
    return path


def write_datatrove(path: Path, documents: list[list[int]], *, wide: bool = False) -> Path:
    tokens = flat(documents)
    path.write_bytes(struct.pack(f"<{len(tokens)}{'I' if wide else 'H'}", *tokens))
    ends = np.cumsum([len(document) for document in documents]).tolist()
    Path(f"{path}.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    Path(f"{path}.metadata").write_text(f"gpt2|{4 if wide else 2}\n{len(tokens)}\n0 T")
    return path


def make(kind: str, folder: Path) -> tuple[Path, list[list[int]]]:
    if kind == "nanogpt":
        return write_nano_gpt(folder / "train.bin", CLOSED), CLOSED
    if kind.startswith("llm.c"):
        return write_llm_c(folder / "fineweb_train_000001.bin", OPENED, wide=kind.endswith("wide")), OPENED
    if kind.startswith("megatron"):
        code, cut = (4 if "int32" in kind else 8), "cut" in kind
        return write_megatron(folder / "text_document", CLOSED, code=code, cut=cut), CLOSED
    return write_datatrove(folder / "00000_tokens.ds", CLOSED, wide=kind.endswith("wide")), CLOSED


KINDS = [
    "nanogpt", "llm.c", "llm.c_wide", "megatron", "megatron_int32", "megatron_cut", "datatrove", "datatrove_wide",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_documents_are_those_written(kind: str, tmp_path: Path) -> None:
    path, documents = make(kind, tmp_path)
    store = ForeignStore(find_token_files(str(path)), ByteTokenizer())
    split = store.split("train")
    tokens = flat(documents)
    assert split.num_tokens == len(tokens)
    assert split.num_documents == len(documents)
    assert split.gather(np.array([0, 3], dtype=np.int64), len(tokens) - 3).tolist() == [tokens[:-3], tokens[3:]]
    assert split.document_ends.tolist() == np.cumsum([len(document) for document in documents]).tolist()
    assert split.dtype == (np.uint32 if "wide" in kind or "int32" in kind else np.uint16)
    assert store.manifest.max_id == EOT
    assert store.vocab_size == 257
    rows = next(EvaluationWindows(split, 8, packing=Document()).batches(4))
    assert rows.weights is not None
    # Where the end token opens documents, it is also what ends the one before.
    ended = [[*document, EOT] if kind.startswith("llm.c") else document for document in documents[:-1]]
    found = [row[: 1 + int(w.sum())].tolist() for row, w in zip(rows.tokens, rows.weights, strict=True)]
    assert found[:-1] == ended
    assert found[-1][: len(documents[-1])] == documents[-1]
    assert TrainStream(split, 4).windows(0, 5).shape == (5, 5)
    store.verify()


def test_splits_follow_the_names_of_the_files(tmp_path: Path) -> None:
    write_llm_c(tmp_path / "fineweb_train_000001.bin", OPENED)
    write_llm_c(tmp_path / "fineweb_train_000002.bin", OPENED[::-1])
    write_llm_c(tmp_path / "fineweb_val_000000.bin", OPENED[:1])
    for place in (tmp_path, tmp_path / "*.bin"):
        store = ForeignStore(find_token_files(str(place)), ByteTokenizer(), val_fraction=0.3)
        whole = flat(OPENED) + flat(OPENED[::-1])
        train = store.split("train")
        assert train.gather(np.array([0], dtype=np.int64), len(whole)).tolist() == [whole]
        assert train.document_ends[-1] == len(whole)
        assert store.split("val").num_tokens == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.4, 0.9])
def test_without_a_validation_file_the_tail_is_cut_at_a_document(kind: str, fraction: float, tmp_path: Path) -> None:
    path, documents = make(kind, tmp_path)
    store = ForeignStore([path], ByteTokenizer(), val_fraction=fraction)
    train, val = store.split("train"), store.split("val")
    parts = [split.gather(np.array([0], dtype=np.int64), split.num_tokens)[0].tolist() for split in (train, val)]
    assert parts[0] + parts[1] == flat(documents)
    ends = np.cumsum([len(document) for document in documents]).tolist()
    target = len(flat(documents)) - max(1, round(len(flat(documents)) * fraction))
    assert train.num_tokens == max([end for end in ends if end <= target], default=max(1, target))
    assert train.num_documents + val.num_documents == len(documents) + (train.num_tokens not in ends)
    assert train.document_ends[-1] == train.num_tokens
    assert val.document_ends[-1] == val.num_tokens


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    stores = []
    for name, documents in (("a", OPENED), ("b", OPENED), ("c", OPENED[::-1])):
        (tmp_path / name).mkdir()
        stores.append(ForeignStore([write_llm_c(tmp_path / name / "x.bin", documents)], ByteTokenizer()))
    assert stores[0].fingerprint == stores[1].fingerprint != stores[2].fingerprint
    write_llm_c(tmp_path / "a" / "x.bin", OPENED[::-1])
    assert ForeignStore([tmp_path / "a" / "x.bin"], ByteTokenizer()).fingerprint == stores[2].fingerprint
    with pytest.raises(DataError, match=r"x\.bin has changed: CRC-32"):
        stores[0].verify()


def test_what_is_not_a_token_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "mixed").mkdir()
    write_nano_gpt(tmp_path / "mixed" / "a.bin", CLOSED)
    (tmp_path / "mixed" / "a.txt").write_text("hello")
    for place in ("text.txt", "nowhere", "*.txt", "mixed/*", "builtin:pydoc"):
        assert find_token_files(str(tmp_path / place)) == []
    assert find_token_files(str(tmp_path / "mixed")) == [tmp_path / "mixed" / "a.bin"]
    write_megatron(tmp_path / "text_document", CLOSED)
    for name in ("text_document", "text_document.bin", "text_document.idx"):
        assert find_token_files(str(tmp_path / name)) == [tmp_path / "text_document.bin"]


@pytest.mark.parametrize(
    ("kind", "victim", "change", "message"),
    [
        ("nanogpt", "train.bin", -1, r"train\.bin has an odd number of bytes"),
        ("nanogpt", "train.bin", -99, r"train\.bin holds no tokens"),
        ("llm.c", "fineweb_train_000001.bin", -2, r"is truncated: 1062 bytes expected, 1060 found"),
        ("llm.c", "fineweb_train_000001.bin", 2, r"is too long: 1062 bytes expected, 1064 found"),
        ("megatron", "text_document.bin", -2, r"text_document\.bin is truncated: 38 bytes"),
        ("megatron", "text_document.idx", -1, r"text_document\.idx is truncated"),
        ("megatron", "text_document.idx", -200, r"text_document\.idx is no Megatron index"),
        ("datatrove", "00000_tokens.ds", -2, r"00000_tokens\.ds does not fit its index: got '36 bytes'"),
        ("datatrove", "00000_tokens.ds.index", None, r"00000_tokens\.ds\.index is missing"),
    ],
)
def test_damaged_files_are_named(kind: str, victim: str, change: int | None, message: str, tmp_path: Path) -> None:
    path, _ = make(kind, tmp_path)
    target = tmp_path / victim
    content = target.read_bytes()
    if change is None:
        target.unlink()
    else:
        target.write_bytes(content + b"\0" * change if change > 0 else content[: max(0, len(content) + change)])
    with pytest.raises(DataError, match=message):
        ForeignStore([path], ByteTokenizer())


def test_other_mistakes_are_explained(tmp_path: Path) -> None:
    path = write_nano_gpt(tmp_path / "train.bin", [[1, 2, 300]])
    with pytest.raises(
        DataError, match=r"train\.bin holds the id 300, which tokenizer bytes does not have \(allowed: ids below 257"
    ):
        ForeignStore([path], ByteTokenizer())
    with pytest.raises(DataError, match=r"cannot be learned from ids: got 'bpe:512'"):
        open_foreign([path], "bpe:512", val_fraction=0.1)
    wide = write_llm_c(tmp_path / "wide.bin", OPENED, wide=True)
    with pytest.raises(
        DataError, match=r"ids of different types: got \{'uint16': 'train\.bin', 'uint32': 'wide\.bin'\}"
    ):
        ForeignStore([path, wide], ByteTokenizer())
    masked = write_datatrove(tmp_path / "x.ds", CLOSED)
    Path(f"{masked}.loss").touch()
    with pytest.raises(DataError, match=r"x\.ds\.loss beside .* excludes tokens"):
        ForeignStore([masked], ByteTokenizer())
    index = write_megatron(tmp_path / "m", CLOSED).with_suffix(".idx")
    index.write_bytes(index.read_bytes()[:17] + b"\x05" + index.read_bytes()[18:])
    with pytest.raises(DataError, match=r"m\.idx has a version and token type.*got \(1, 5\)"):
        ForeignStore([index.with_suffix(".bin")], ByteTokenizer())


def write_ids(path: Path, ids: np.ndarray, dtype: str) -> Path:
    path.write_bytes(ids.astype(dtype).tobytes())
    return path


def text_ids(vocab_size: int, count: int = 5000) -> np.ndarray:
    """Ids distributed roughly as those of text are."""
    return np.minimum(np.random.default_rng(0).zipf(1.3, count), vocab_size) - 1


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), resolve("gpt2"), wide_tokenizer()], ids=lambda each: each.name)
def test_ids_without_a_header_are_read_in_the_width_they_have(tokenizer: Tokenizer, tmp_path: Path) -> None:
    ids = text_ids(tokenizer.vocab_size)
    for dtype in ("<u2", "<u4") if tokenizer.vocab_size <= 1 << 16 else ("<u4",):
        for stated in (None, np.dtype(dtype).name):
            store = ForeignStore([write_ids(tmp_path / "train.bin", ids, dtype)], tokenizer, dtype=stated)
            split = store.split("train")
            assert split.dtype == np.dtype(dtype)
            assert split.gather(np.array([0], dtype=np.int64), split.num_tokens)[0].tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("vocab_size", "stored", "stated", "message"),
    [
        (50257, "<u4", "uint16", None),  # said is said: the user's word decides, and the ids do exist
        (50257, "<u2", "uint32", r"holds the id \d+, which tokenizer gpt2 does not have.*--data.dtype"),
        (100_000, "<u4", None, r"every second number is below .*look like uint32 ids up to \d+: got '5000 such ids"),
        (50257, ">u2", None, r"which tokenizer gpt2 does not have \(its bytes look big-endian"),
    ],
)
def test_a_width_that_does_not_fit_is_refused(
    vocab_size: int, stored: str, stated: str | None, message: str | None, tmp_path: Path
) -> None:
    path = write_ids(tmp_path / "train.bin", np.r_[text_ids(vocab_size), [vocab_size - 1] * 20][20:], stored)
    if message is None:
        assert ForeignStore([path], resolve("gpt2"), dtype=stated).split("train").num_tokens == 10_000
        return
    with pytest.raises(DataError, match=message):
        ForeignStore([path], resolve("gpt2"), dtype=stated)


def test_a_vocabulary_that_does_not_fit_the_width_is_refused(tmp_path: Path) -> None:
    path = write_ids(tmp_path / "train.bin", text_ids(60_000), "<u2")
    with pytest.raises(DataError, match=r"holds uint16 ids, and tokenizer chars has ids that do not fit: got \d+"):
        ForeignStore([path], wide_tokenizer())


def test_too_few_ids_to_tell_are_asked_about(tmp_path: Path) -> None:
    path = write_ids(tmp_path / "train.bin", np.arange(5, 15), "<u4")
    with pytest.raises(DataError, match=r"Set --data.dtype to uint32 or uint16"):
        ForeignStore([path], ByteTokenizer())
    assert ForeignStore([path], ByteTokenizer(), dtype="uint32").split("train").num_tokens == 10


def test_a_width_that_a_file_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"says of itself that its ids are uint16 \(LlmC\): got 'uint32'"):
        ForeignStore([write_llm_c(tmp_path / "x.bin", OPENED)], ByteTokenizer(), dtype="uint32")


def test_ids_of_both_widths_train_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = text_ids(257)
    for name, dtype in (("narrow", "<u2"), ("wide", "<u4")):
        (tmp_path / name).mkdir()
        write_ids(tmp_path / name / "train.bin", ids, dtype)
        assert cli.main(["data", "info", str(tmp_path / name), "--tokenizer", "bytes", "--val_fraction", "0"]) == 0
        assert "5,000 tokens" in capsys.readouterr().out
    stated = ["--tokenizer", "bytes", "--val_fraction", "0", "--dtype", "uint16"]
    assert cli.main(["data", "info", str(tmp_path / "wide"), *stated]) == 0
    assert "10,000 tokens" in capsys.readouterr().out
    (tmp_path / "t.txt").write_text("text")
    assert cli.main(["prepare", "--source", str(tmp_path / "t.txt"), "--dtype", "uint16"]) == 2
    assert "data.dtype is that of token files without a header" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_shard_among_others_is_passed_over(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, documents = make(kind, tmp_path)
    (tmp_path / "empty").mkdir()
    empty, _ = make(kind, tmp_path / "empty")
    writers = {
        "n": lambda: write_nano_gpt(empty, []),
        "l": lambda: write_llm_c(empty, [], wide="wide" in kind),
        "m": lambda: write_megatron(empty.with_suffix(""), [], code=4 if "int32" in kind else 8),
        "d": lambda: write_datatrove(empty, []),
    }
    writers[kind[0]]()
    store = ForeignStore([empty, path], ByteTokenizer())
    assert store.split("train").num_tokens == len(flat(documents))
    assert "1 of 2 token files hold no tokens" in caplog.text
    with pytest.raises(DataError, match=r"holds no tokens"):
        ForeignStore([empty], ByteTokenizer())


def test_what_is_remembered_of_a_file_is_not_believed_when_it_was_changed(tmp_path: Path) -> None:
    path = write_nano_gpt(tmp_path / "train.bin", CLOSED)
    ForeignStore([path], ByteTokenizer())
    (memory,) = (cache_folder() / "foreign").iterdir()
    text = memory.read_text()
    memory.write_text(text.replace('"max_id": 256', '"max_id": 257'))
    assert memory.read_text() != text
    assert ForeignStore([path], ByteTokenizer()).manifest.max_id == 256  # 257 is no id of this tokenizer
