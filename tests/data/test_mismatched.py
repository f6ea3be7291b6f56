"""Prompts with somebody else's answer: which one is a function of the document, and the row is what was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.data.layouts.conversations import Rated
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.mismatched import MismatchedWindows
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.errors import DataError
from tests.data.labelled import write_jsonl


def open_split(tmp_path: Path, count: int) -> TokenSplit:
    rows = [
        {"prompt": f"p{number}", "completion": f"c{number}" + "." * number, "label": number % 2 == 0}
        for number in range(count)
    ]
    settings = PrepareSettings(
        source=str(write_jsonl(tmp_path / "x.jsonl", rows)), tokenizer="bytes", val_fraction=0.0, layout=Rated()
    )
    return find_or_prepare(settings, store=tmp_path / "store", workers=1).split("train")


def test_the_second_row_is_the_prompt_with_another_s_answer(tmp_path: Path) -> None:
    windows, decode = MismatchedWindows(open_split(tmp_path, 9), 64), ByteTokenizer().decode
    rows = windows.read(np.arange(18), documents=True)
    partner = windows.partner(np.arange(9))
    assert (partner != np.arange(9)).all()
    assert len(set(partner.tolist())) > 4
    assert rows.documents is not None
    assert rows.weights is not None
    for number in range(18):
        own, end = number // 2, int(rows.columns["ends"][number, 0])
        answer = own if number % 2 == 0 else int(partner[own])
        said = f" c{answer}{'.' * answer}<|endoftext|>"
        tokens, marks = rows.tokens[number], rows.columns["marks"][number]
        assert decode(tokens[: end + 1]) == f"<|endoftext|>User: p{own}\nAssistant:{said}\n"
        assert decode(tokens[marks == 1]) == said
        assert (tokens[end + 1 :] == 256).all()
        assert rows.columns["desirable"][number, 0] == (own % 2 == 0)
        assert rows.weights[number].sum() == end + 1
        assert (rows.documents[number] == (np.arange(65) > end)).all()


def test_too_long_an_answer_loses_its_end_behind_another_prompt(tmp_path: Path) -> None:
    split = open_split(tmp_path, 30)
    longest = int(np.diff(split.document_ends, prepend=0).max())
    windows = MismatchedWindows(split, longest)
    rows = windows.read(np.arange(60))
    assert rows.tokens.shape == (60, longest + 1)
    assert (rows.columns["ends"][:, 0] < longest).all()
    alone = windows.read(np.array([31]))
    assert (alone.tokens == rows.tokens[31]).all(), "whatever is read with it"
    assert rows.weights is not None
    assert ((rows.weights == 1) | (rows.columns["marks"][:, 1:] == 0)).all(), "what is learned is a target"


def test_a_single_document_has_no_partner(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a single document"):
        MismatchedWindows(open_split(tmp_path, 1), 64)
