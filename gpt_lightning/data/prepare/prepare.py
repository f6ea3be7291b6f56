"""Text -> store: find the one that belongs to some settings, or make it.

A store is used again as long as it is what the settings would give: the same settings, and inputs whose content is the
same (size and time of change are looked at first; a file that was merely touched is compared by checksum). Whether
a folder exists decides nothing. Killed at any moment, this leaves no store that looks ready, and the next call goes on
where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from gpt_lightning.data.folders import cache_folder, check_place, hold_lock, remove_leftovers
from gpt_lightning.data.layouts import conversations, tagged  # noqa: F401 (short names find imported classes)
from gpt_lightning.data.layouts.base import Layout, Text
from gpt_lightning.data.prepare.building import Order, Progress, Recipe, make_stores
from gpt_lightning.data.prepare.cleaning import Cleaning
from gpt_lightning.data.prepare.freshness import find_store
from gpt_lightning.data.prepare.intake import Intake
from gpt_lightning.data.readers.bad_records import BAD_RECORDS
from gpt_lightning.data.readers.builtin import python_fingerprint
from gpt_lightning.data.readers.files import check_encoding
from gpt_lightning.data.readers.formats.records import TextField
from gpt_lightning.data.readers.formats.text import TEXT_READERS
from gpt_lightning.data.readers.readers import Reader, Reading
from gpt_lightning.data.readers.remote_files import is_remote
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.store.manifest import FORMAT
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.resolve import parse_bpe
from gpt_lightning.errors import ConfigError

_log = logging.getLogger(__name__)
_ALWAYS = ("source", "tokenizer", "val_fraction", "test_fraction", "split_seed")


@dataclass(frozen=True)
class PrepareSettings:
    r"""What a store is made of; equal settings and equal inputs mean the same store.

    Args:
        source: The text: a file, a folder, a glob, a URL of these, builtin:pydoc, builtin:stdlib, builtin:codons, or a
            list. By suffix: plain text, .jsonl, .json, .csv, .tsv, .parquet, .arrow, each also as .gz, .bz2, .xz or
            .zst; or a folder saved by the library datasets.
        tokenizer: bytes, chars, bpe:SIZE (trained on the source; bpe:SIZE:chinese for Chinese), a tiktoken encoding
            such as gpt2, or the path of a saved tokenizer.
        val_fraction: Share of the documents kept for validation. A twentieth: a corpus of a few MB still gives a
            steady number; 0.005 is plenty for gigabytes. 0 trains on everything, without validation.
        test_fraction: Share of the documents kept for the test split.
        split_seed: Seed of the division into splits.
        document_per: What a document is in plain text: file, line or paragraph (lines between blank ones).
        text_field: The field of a record that holds its text (meta.text: inside another), or a template such as
            "{title}\n{body}".
        encoding: Of the files, unless they are parquet or arrow.
        bad_records: What happens to a record that is not what its file promises (no JSON, no text in the field, bytes
            of another encoding): refuse ends with its file and row; skip leaves it out, counts and names it.
        normalize_nfc: Whether to bring text into Unicode's normal form C, in which equal text is equal bytes.
        drop_duplicates: Whether a text that occurs again, exactly the same, is left out.
        min_characters: Shorter documents are left out.
        max_characters: Longer documents are left out; null = none is too long.
        max_tokens: The corpus ends with the document before the one with which the training split would have more;
            null = all of it.
        layout: What a record is, and what of it is kept beside the tokens: Labelled, MultiLabelled, Regression,
            Conversation, Preference or Rated; null = running text.
        group_field: Field of what may not stand on two sides of the split, such as a user; null = the text itself.
        split_field: Field in which records say their split themselves: train, val or test; those that say nothing are
            divided as without it.
        max_leaked: Share of the validation or test documents that may also stand in training, the same or nearly the
            same; looked for with a layout.
        dtype: Width of the ids in token files that do not say it themselves (nanoGPT's): uint16 or uint32; null = the
            numbers tell.

    Raises:
        ConfigError: A value is out of range.
        DataError: No vocabulary is learned of that size or by that pattern.
    """

    source: str | list[str] = "builtin:pydoc"
    tokenizer: str = "gpt2"
    val_fraction: float = 0.05
    test_fraction: float = 0.0
    split_seed: int = 0
    document_per: str = "file"
    text_field: str = "text"
    encoding: str = "utf-8"
    bad_records: str = "refuse"
    normalize_nfc: bool = False
    drop_duplicates: bool = False
    min_characters: int = 0
    max_characters: int | None = None
    max_tokens: int | None = None
    layout: Layout | None = None
    group_field: str | None = None
    split_field: str | None = None
    max_leaked: float = 0.01
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"data.{name} is a share", got=getattr(self, name), allowed="0 <= share < 1", fix="Write 0.05."
                )
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "data.val_fraction and data.test_fraction leave nothing to train on",
                got=self.val_fraction + self.test_fraction,
                allowed="a sum < 1",
                fix="Lower one of them.",
            )
        if self.document_per not in TEXT_READERS:
            raise ConfigError(
                "data.document_per", got=self.document_per, allowed=", ".join(TEXT_READERS), fix="Correct the name."
            )
        self._check_words()
        self._check_layout()
        TextField(self.text_field)
        check_encoding(self.encoding)
        if self.tokenizer.startswith("bpe:"):
            parse_bpe(self.tokenizer)  # now, and not when the corpus has been looked through
        for name, least in (("min_characters", 0), ("max_characters", max(1, self.min_characters)), ("max_tokens", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"data.{name} is too small", got=value, allowed=f">= {least}", fix="Raise it.")

    def _check_words(self) -> None:
        for source in self.sources:
            if any("\ud800" <= character <= "\udfff" for character in source):
                raise ConfigError(
                    "data.source is a name that is not UTF-8, which no config file can hold",
                    got=source,
                    allowed="the folder it lies in, or a glob that matches it",
                    fix="Name that, or rename the file.",
                )
        if self.bad_records not in BAD_RECORDS:
            raise ConfigError(
                "data.bad_records", got=self.bad_records, allowed=", ".join(BAD_RECORDS), fix="Correct the name."
            )
        if self.dtype not in (None, "uint16", "uint32"):
            raise ConfigError("data.dtype", got=self.dtype, allowed="uint16, uint32, null", fix="Correct the name.")

    def _check_layout(self) -> None:
        if self.layout is not None and self.text_field != PrepareSettings.text_field:
            raise ConfigError(
                f"data.text_field is for running text; data.layout {type(self.layout).__name__} names its own fields",
                got=self.text_field,
                fix="Set the field in data.layout, and leave data.text_field out.",
            )
        if not 0 <= self.max_leaked <= 1:
            raise ConfigError(
                "data.max_leaked is a share", got=self.max_leaked, allowed="0 <= share <= 1", fix="Leave it out."
            )

    @property
    def sources(self) -> list[str]:
        """``source`` as a list."""
        return [self.source] if isinstance(self.source, str) else list(self.source)

    @property
    def reading(self) -> Reading:
        """The part that readers need."""
        others = [field for field in (self.group_field, self.split_field) if field is not None]
        return Reading(
            self.document_per,
            self.text_field if self.layout is None else "",
            self.encoding,
            self.bad_records,
            tuple(dict.fromkeys([*self.intake.layout.fields, *others])),
        )

    @property
    def intake(self) -> Intake:
        """The part that decides what enters, and as what."""
        return Intake(
            Cleaning(self.normalize_nfc, self.min_characters, self.max_characters),
            self.layout or Text(),
            self.group_field,
            self.split_field,
            skips_bad=self.bad_records == "skip",
        )

    def limited_to(self, max_tokens: int) -> PrepareSettings:
        """The same for windows of so many tokens, where whole documents have to fit and nothing else is said."""
        return self if self.layout is None else replace(self, layout=self.layout.limited_to(max_tokens))

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest.

        Later options appear only when they are set, so that stores made before there were any stay the same stores.
        """
        described: dict[str, Any] = {
            "source": self.sources,
            "tokenizer": self.tokenizer,
            "val_fraction": float(self.val_fraction),  # 0 and 0.0 are the same store
            "test_fraction": float(self.test_fraction),
            "split_seed": self.split_seed,
        }
        for field in fields(self):
            assert field.default is not MISSING
            if field.name not in _ALWAYS and getattr(self, field.name) != field.default:
                value = getattr(self, field.name)
                described[field.name] = value.describe() if isinstance(value, Layout) else value
        return described


def default_folder(settings: PrepareSettings) -> Path:
    """Where the store of these settings lives in the cache: ``stores/NAME-TOKENIZER-HASH12``.

    Paths count as absolute ones, so that ``data/`` of two projects are two stores; built-in corpora belong to one
    version of Python.
    """
    places = [
        f"{source} {python_fingerprint()}"
        if source.startswith("builtin:")
        else source
        if is_remote(source)
        else str(Path(source).expanduser().absolute())
        for source in settings.sources
    ]
    identity = json.dumps([FORMAT, settings.describe() | {"source": places}], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    first = settings.sources[0] if settings.sources else "nothing"
    stem = Path(first).stem if not first.startswith("builtin:") else first.removeprefix("builtin:")
    parts = (re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:40] for part in (stem, Path(settings.tokenizer).stem))
    return cache_folder() / "stores" / "-".join([*(part for part in parts if part), digest])


def find_or_prepare(
    settings: PrepareSettings,
    *,
    store: Path | str | None = None,
    rebuild: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """The store of these settings: opened when it is ready, made when it is missing, unfinished or out of date.

    Safe to call from many processes at once: one makes the store, the others wait and use it.

    Args:
        settings: What it is made of.
        store: Its folder; None = ``default_folder``. A folder chosen here is never overwritten because *settings*
            changed (only because its inputs did), since it may be what another run trains on.
        rebuild: Make it anew in any case.
        workers: Processes that tokenize at once; None = one for each processor. The store is the same.
        progress: Called with (bytes done, bytes in all, tokens so far) while preparing.

    Raises:
        DataError: The source cannot be read, the tokenizer not be found, the store is damaged, or the chosen folder
            holds a store of other settings.
    """
    (found,) = find_or_prepare_all(
        settings, [settings.tokenizer], stores=[store], rebuild=rebuild, workers=workers, progress=progress
    )
    return found


def prepare(
    settings: PrepareSettings,
    *,
    store: Path | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """Make the store of these settings, whether there is one or not; see ``find_or_prepare``."""
    return find_or_prepare(settings, store=store, rebuild=True, workers=workers, progress=progress)


def find_or_prepare_all(
    settings: PrepareSettings,
    tokenizers: Sequence[str],
    *,
    stores: Sequence[Path | str | None] | None = None,
    rebuild: bool = False,
    by_content: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[TokenStore]:
    """A store for each of several tokenizers; those that have to be made are made in one pass over the text.

    Args:
        settings: What they are made of, but for the tokenizer.
        tokenizers: Their specs, no two the same.
        stores: Their folders; None = ``default_folder``.
        rebuild: See ``find_or_prepare``.
        by_content: Whether inputs of the same size and time of change are read and compared all the same.
        workers: See ``find_or_prepare``.
        progress: See ``find_or_prepare``.

    Returns:
        The stores in the order of the tokenizers.

    Raises:
        DataError: As ``find_or_prepare``.
    """
    requests = [
        _StoreRequest(
            wanted, Path(store).expanduser() if store is not None else default_folder(wanted), store is not None
        )
        for wanted, store in zip(
            [replace(settings, tokenizer=tokenizer) for tokenizer in tokenizers],
            stores or [None] * len(tokenizers),
            strict=True,
        )
    ]
    assert len({wish.folder for wish in requests}) == len(requests)
    found = {} if rebuild else _find_all(requests, by_content)
    for folder in found:
        remove_leftovers(folder)
    if missing := [wish for wish in requests if wish.folder not in found]:
        readers = open_sources(settings.sources, settings.reading, tell=_log.warning)
        with ExitStack() as locks:
            # In one order everywhere, or two processes could wait for each other.
            for wish in sorted(missing, key=lambda wish: wish.folder):
                check_place(wish.folder)
                locks.enter_context(hold_lock(wish.folder))
            # Another process may have finished some while this one waited.
            found |= {} if rebuild else _find_all(missing, by_content)
            if missing := [wish for wish in missing if wish.folder not in found]:
                _make(settings, missing, readers, workers, progress)
    return [found.get(wish.folder) or TokenStore.open(wish.folder) for wish in requests]


def find_prepared(settings: PrepareSettings, folder: Path, *, chosen: bool) -> TokenStore | None:
    """The store of these settings if it is ready, see ``find_or_prepare``.

    Args:
        settings: What it is made of.
        folder: Where it is.
        chosen: Whether the user named the folder.
    """
    return _StoreRequest(settings, folder, chosen).find()


@dataclass(frozen=True)
class _StoreRequest:
    """A store that somebody wants, and where."""

    settings: PrepareSettings
    folder: Path
    chosen: bool

    def find(self, by_content: bool = False) -> TokenStore | None:
        settings = self.settings
        return find_store(
            self.folder,
            settings.describe(),
            lambda: open_sources(settings.sources, settings.reading),
            chosen=self.chosen,
            by_content=by_content,
        )


def _find_all(requests: Sequence[_StoreRequest], by_content: bool) -> dict[Path, TokenStore]:
    """The stores that are ready, by folder."""
    found = ((wish.folder, wish.find(by_content)) for wish in requests)
    return {folder: store for folder, store in found if store is not None}


def _make(
    settings: PrepareSettings,
    requests: Sequence[_StoreRequest],
    readers: Sequence[Reader],
    workers: int | None,
    progress: Progress | None,
) -> None:
    names = ", ".join(wish.settings.tokenizer for wish in requests)
    _log.info("Preparing %s with tokenizer %s", ", ".join(settings.sources), names)
    recipe = Recipe(
        readers=readers,
        reading=settings.reading,
        intake=settings.intake,
        shares=(float(settings.val_fraction), float(settings.test_fraction)),
        split_seed=settings.split_seed,
        drop_duplicates=settings.drop_duplicates,
        max_tokens=settings.max_tokens,
        max_leaked=settings.max_leaked,
    )
    orders = [Order(wish.folder, wish.settings.tokenizer, wish.settings.describe()) for wish in requests]
    make_stores(recipe, orders, workers=workers, progress=progress)
