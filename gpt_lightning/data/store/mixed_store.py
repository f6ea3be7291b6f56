"""Several stores as one, for what a run asks of "its" store: tokenizer, fingerprint, number of tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from gpt_lightning.data.store.columns import LayoutRecord
from gpt_lightning.data.store.manifest import SPLITS, Manifest, SplitRecord
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.errors import DataError


class MixedStore(TokenStore):
    """The sources of a mixture.

    Args:
        stores: By the name of the source, at least one.

    Raises:
        DataError: They were not made by the same tokenizer, or have other columns or labels.

    Attributes:
        stores: By the name of the source.
    """

    def __init__(self, stores: Mapping[str, TokenStore]) -> None:
        first = next(iter(stores))
        for name, store in stores.items():
            _check_same_tokenizer(first, stores[first].manifest, name, store.manifest)
            _check_same_layout(first, stores[first].manifest, name, store.manifest)
        self.stores = dict(stores)
        super().__init__(stores[first].path, _merge({name: store.manifest for name, store in stores.items()}))

    def _open_split(self, name: str) -> TokenSplit:
        return TokenSplit.join(self._find_record(name), [self.stores[key].split(name) for key in self.sources_of(name)])

    def sources_of(self, split: str) -> list[str]:
        """Sources that have documents in a split."""
        return [name for name, store in self.stores.items() if _has(store.manifest, split)]

    def verify(self) -> None:
        """Verify every source.

        Raises:
            DataError: Names the damaged file.
        """
        for store in self.stores.values():
            store.verify()


def _has(manifest: Manifest, split: str) -> bool:
    record = manifest.splits.get(split)
    return record is not None and bool(record.shards)


def _check_same_tokenizer(one: str, ours: Manifest, other: str, theirs: Manifest) -> None:
    mine, its = ours.tokenizer, theirs.tokenizer
    if mine["fingerprint"] == its["fingerprint"]:
        return
    parts = sorted({*mine["parts"], *its["parts"]})
    differing = [part for part in parts if mine["parts"].get(part) != its["parts"].get(part)] or ["kind"]
    raise DataError(
        f"Sources {one} and {other} of data.mixture have different tokenizers: {mine['name']} "
        f"({mine['fingerprint'][:12]}) and {its['name']} ({its['fingerprint'][:12]}); {', '.join(differing)} differ",
        fix="Train one tokenizer with gpt-lightning tokenizer train, and name its file in data.tokenizer.",
    )


def _check_same_layout(one: str, ours: Manifest, other: str, theirs: Manifest) -> None:
    mine, its = (None if manifest.layout is None else manifest.layout.content() for manifest in (ours, theirs))
    if mine != its:
        raise DataError(
            f"Sources {one} and {other} of data.mixture have different columns or labels",
            got=f"{one} {mine or 'plain text'}, {other} {its or 'plain text'}",
            fix="Prepare all with the same data.layout and labels.",
        )


def _merge_layouts(layouts: list[LayoutRecord]) -> LayoutRecord | None:
    return replace(layouts[0], longest=max(layout.longest for layout in layouts)) if layouts else None


def _merge(manifests: Mapping[str, Manifest]) -> Manifest:
    """One manifest whose splits hold the shards of all sources; the names of the sources are part of its content."""
    first = next(iter(manifests.values()))
    splits = {}
    for split in SPLITS:
        own = {name: manifest.splits[split] for name, manifest in manifests.items() if split in manifest.splits}
        if own:
            content = json.dumps([[name, record.sha256] for name, record in own.items()])
            shards = [shard for record in own.values() for shard in record.shards]
            splits[split] = SplitRecord(shards, hashlib.sha256(content.encode()).hexdigest())
    return Manifest(
        settings={"sources": {name: manifest.settings for name, manifest in manifests.items()}},
        tokenizer=first.tokenizer,
        vocab_size=first.vocab_size,
        eot_id=first.eot_id,
        dtype=max(manifest.dtype for manifest in manifests.values()),  # uint16 < uint32
        splits=splits,
        inputs=[record for manifest in manifests.values() for record in manifest.inputs],
        split_rule="by source",
        layout=_merge_layouts([manifest.layout for manifest in manifests.values() if manifest.layout is not None]),
    )
