"""``gpt-lightning evaluate ppl``: how well a model predicts some texts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

from gpt_lightning.data.readers.files import check_encoding
from gpt_lightning.data.readers.formats.text import TEXT_READERS
from gpt_lightning.data.readers.readers import Document, Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.reporting import Outputs
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure
from gpt_lightning.evaluation.scoring.models import open_model, step_of_card, with_weights
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.evaluation.scoring.windows import check_window
from gpt_lightning.metrics.likelihood import Likelihood


def ppl_command(
    model: str,
    files: list[str],
    window: int | None = None,
    stride: int | None = None,
    begin: str = "eot",
    document_per: str = "file",
    text_field: str = "text",
    encoding: str = "utf-8",
    limit: int | None = None,
    batch_size: int = 8,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
    name: str = "ppl",
    output: str | None = None,
    report: str | None = None,
    tensorboard: str | None = None,
) -> None:
    r"""Measure loss, perplexity and bits per byte of a model on texts, in all, by document and by context.

    Each text is read through a window that slides by a stride; every token is predicted once, with at least
    window - stride tokens of context (after the first window). Files may be of any format that prepare reads.

    Example: gpt-lightning evaluate ppl runs/quickstart-1 test.txt --stride 128 --output ppl.json
    Example: gpt-lightning evaluate ppl runs/quickstart-1 news.jsonl "books/*.txt" --text_field body

    Args:
        model: Run folder, checkpoint folder or exported folder.
        files: Texts: files, folders, globs or builtin:NAME.
        window: Tokens that the model sees at most; null = its block_size.
        stride: By how many tokens the window slides; null = half the window. Smaller = more context, more work.
        begin: eot: end-of-text before each text, as in training; none: the first token is not predicted.
        document_per: What a document is in plain text: file, line or paragraph.
        text_field: Field of a record that holds its text, or a template such as "{title}\n{body}".
        encoding: Of the files.
        limit: Measure only so many documents.
        batch_size: Windows of a forward pass; changes time and memory only.
        weights: float32 = as they are; bfloat16, float16 or int8 = as generate --weights decodes with them.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
        name: Of this evaluation, in files and TensorBoard.
        output: JSON file to write, for gpt-lightning evaluate compare.
        report: Page to write, .html or .md.
        tensorboard: Folder to write events to.
    """
    outputs = Outputs(output, report, tensorboard)
    outputs.check()
    if document_per not in TEXT_READERS:
        raise ConfigError("document_per", got=document_per, allowed=", ".join(TEXT_READERS), fix="Correct the name.")
    check_encoding(encoding)
    if limit is not None and limit < 1:
        raise ConfigError("limit counts documents", got=limit, allowed="1 or more")
    readers = open_sources(files, Reading(document_per, text_field, encoding))

    loaded = open_model(model, prefer=prefer, device=device, weights=weights)
    reach = Reach(*check_window(window, stride, loaded.model.block_size), begin, batch_size)
    documents: Iterator[Document] = (document for reader in readers for document in reader.iterate_documents())
    items, by_context = measure_documents(loaded, islice(documents, limit), reach)
    if not items:
        raise DataError("There is nothing to predict in these texts", got=files, fix="Check that they are not empty.")
    settings: dict[str, Any] = {"window": reach.window, "stride": reach.stride, "begin": begin}
    tables = {"By context": by_context.table(), "By document": _list_documents(items)}
    evaluation = Evaluation(name, str(loaded.path), settings, [Measure("Perplexity")], items, tables=tables)
    outputs.write([with_weights(evaluation, weights)], step_of_card(loaded))


def _list_documents(items: list[Item]) -> tuple[list[str], list[list[Any]]]:
    rows: list[list[Any]] = []
    for item in items:
        found = item.outcomes[""]
        assert isinstance(found, Likelihood)
        per_byte = found.nats / math.log(2) / found.num_bytes if found.num_bytes else math.nan
        rows.append([item.name, found.num_tokens, found.nats / found.num_tokens, per_byte])
    return ["document", "tokens", "loss", "bits per byte"], rows
