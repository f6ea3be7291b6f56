"""Where data come from, as the configuration says: ours, another program's, far away, or several of these.

data.store: s3://...          a store behind a URL               remote
data.store: tokens/           token files of another program     foreign
data.source: train.bin        the same
anything else                 our own store, made when missing   prepare
  with data.on_the_fly        the same, read while it is made    following
data.mixture                  several of these                   mixed_store
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.live.following import open_growing
from gpt_lightning.data.live.growing import GrowingStore
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.external import check_exists, find_token_files, open_foreign
from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.data.store.mixed_store import MixedStore
from gpt_lightning.data.store.remote import RemoteStore, is_url
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.mixture import Mixture
from gpt_lightning.data.stream.packing import Concat, Packing
from gpt_lightning.data.tokenizers.resolve import is_tokenizer_file, read_tokenizer
from gpt_lightning.errors import ConfigError, DataError


def open_store(settings: PrepareSettings, store: str | None) -> TokenStore:
    """The store of some settings.

    Args:
        settings: Source and tokenizer; of a store behind a URL only the tokenizer is compared.
        store: Folder or URL; None = found or made in the cache.

    Raises:
        DataError: It cannot be found, made or read.
    """
    if store is not None and is_url(store):
        remote = RemoteStore(store)
        _check_tokenizer(store, remote.manifest, settings.tokenizer)
        _check_layout(store, remote.manifest, settings.layout)
        return remote
    files = find_token_files(store) if store is not None else _find_source_files(settings)
    if files:
        _refuse_layout(settings, str(files[0]))
        return open_foreign(files, settings.tokenizer, val_fraction=settings.val_fraction, dtype=settings.dtype)
    _refuse_dtype(settings)
    if store is not None:
        check_exists(store)
    return find_or_prepare(settings, store=store)


def open_existing(place: str, tokenizer: str, val_fraction: float, dtype: str | None = None) -> TokenStore:
    """A store that is there already, whoever made it, to look into; nothing is prepared.

    Args:
        place: Folder or URL of a store, or token files of another program.
        tokenizer: What made the ids of token files; a store says it itself.
        val_fraction: Share of token files without a validation split that is cut off for one.
        dtype: Of token files without a header; None = the numbers tell.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    if is_url(place):
        return RemoteStore(place)
    if files := find_token_files(place):
        return open_foreign(files, tokenizer, val_fraction=val_fraction, dtype=dtype)
    check_exists(place)
    return TokenStore.open(Path(place).expanduser())


def _find_source_files(settings: PrepareSettings) -> list[Path]:
    # A folder given as source is text, whatever else lies in it.
    places = settings.sources
    mixed = [place for place in places if not Path(place).expanduser().is_dir() and find_token_files(place)]
    if mixed and len(places) > 1:
        raise ConfigError(
            "A list in data.source is of texts, and this is token files",
            got=mixed[0],
            allowed="text, or one file or glob of tokens",
            fix="Name each as a source of data.mixture, or token files of one kind with a glob.",
        )
    if len(places) != 1 or Path(places[0]).expanduser().is_dir():
        return []
    return find_token_files(places[0])


def check_text(settings: PrepareSettings) -> None:
    """Refuse to prepare token files, whose bytes may even happen to be text.

    Raises:
        ConfigError: The source is token files.
    """
    if _find_source_files(settings):
        raise ConfigError(
            "The source is token files, which need no preparing",
            got=settings.sources[0],
            allowed="text",
            fix=f"Train on them with --data.store {settings.sources[0]}, or rename them if they are text.",
        )
    _refuse_dtype(settings)


def _refuse_dtype(settings: PrepareSettings) -> None:
    if settings.dtype is not None:
        raise ConfigError(
            "data.dtype is that of token files without a header, and these are none",
            got=settings.dtype,
            fix="Leave data.dtype out: a store of text chooses it by its vocabulary.",
        )


def _refuse_layout(settings: PrepareSettings, place: str) -> None:
    if settings.layout is not None:
        raise ConfigError(
            f"data.layout reads records, and {place} is token files",
            got=type(settings.layout).__name__,
            allowed="records (.jsonl, .csv, .parquet ...)",
            fix="Leave data.layout out, or name the records in data.source.",
        )


def _check_layout(place: str, manifest: Manifest, wanted: Layout | None) -> None:
    found = None if manifest.layout is None else manifest.layout.name
    if wanted is not None and type(wanted).__name__ != found:
        raise DataError(
            f"{place} was made with another layout",
            got=type(wanted).__name__,
            allowed=found or "running text",
            fix="Set data.layout to that, or leave it out.",
        )


def _check_tokenizer(place: str, manifest: Manifest, wanted: str) -> None:
    if is_tokenizer_file(wanted):
        same = read_tokenizer(Path(wanted).expanduser()).fingerprint == manifest.tokenizer["fingerprint"]
    else:
        same = wanted in (manifest.settings.get("tokenizer"), manifest.tokenizer["name"])
    if not same:
        made_with = manifest.settings.get("tokenizer", manifest.tokenizer["name"])
        raise DataError(
            f"{place} was made with another tokenizer",
            got=wanted,
            allowed=str(made_with),
            fix=f"Set --data.tokenizer {made_with}.",
        )


def open_mixture(settings: PrepareSettings, mixture: Mixture) -> MixedStore:
    """The stores of a mixture, each with the same settings but for its source.

    Raises:
        DataError: As ``open_store``, or the tokenizers differ.
    """
    stores = {}
    for name, source in mixture.sources.items():
        if source.source is not None:
            stores[name] = open_store(replace(settings, source=source.source), source.store)
            continue
        # A store without text is taken as it is: data.source belongs to no source of a mixture.
        assert source.store is not None
        stores[name] = open_existing(source.store, settings.tokenizer, settings.val_fraction, settings.dtype)
        _check_tokenizer(source.store, stores[name].manifest, settings.tokenizer)
        _check_layout(source.store, stores[name].manifest, settings.layout)
    return MixedStore(stores)


def check_on_the_fly(
    packing: Packing, mixture: Mixture | None, store: str | None, layout: Layout | None = None
) -> None:
    """Refuse what needs the whole corpus before the first sample.

    Raises:
        ConfigError: Names the setting.
    """
    if layout is not None:
        raise ConfigError(
            "data.on_the_fly reads running text; data.layout looks at the whole corpus first",
            got=type(layout).__name__,
            allowed="data.layout null",
            fix="Leave data.on_the_fly out.",
        )
    if not isinstance(packing, Concat):
        raise ConfigError(
            "data.on_the_fly cuts windows from the running text; other packings plan over the whole corpus",
            got=type(packing).__name__,
            allowed="Concat",
            fix="Set --data.packing Concat, or run gpt-lightning prepare first and leave data.on_the_fly out.",
        )
    if mixture is not None:
        raise ConfigError(
            "data.on_the_fly cannot mix: the shares of a mixture depend on the sizes of its sources",
            got=sorted(mixture.sources),
            allowed="one data.source",
            fix="Run gpt-lightning prepare for each source first, and leave data.on_the_fly out.",
        )
    if store is not None and is_url(store):
        raise ConfigError(
            "data.on_the_fly prepares text on this machine, and data.store is a finished store far away",
            got=store,
            allowed="a folder, or null",
            fix="Leave data.on_the_fly out.",
        )


def open_on_the_fly(
    settings: PrepareSettings, store: str | None, *, prepares: bool, scratch: Path | None = None
) -> GrowingStore:
    """The store of some settings, which may still be in the making.

    Args:
        settings: What it is made of.
        store: Its folder; None = the one in the cache.
        prepares: Whether this process has it made; of a run's processes exactly one does.
        scratch: Where it is made when it is missing; None = at its place.

    Raises:
        DataError: As ``open_store``, or there is nothing to prepare.
    """
    if (store is not None and find_token_files(store)) or _find_source_files(settings):
        raise ConfigError(
            "data.on_the_fly is for text, and these are token files already",
            got=store or settings.sources[0],
            fix="Leave data.on_the_fly out.",
        )
    _refuse_dtype(settings)
    if store is not None:
        check_exists(store)
    return open_growing(settings, store, prepares=prepares, scratch=scratch)
