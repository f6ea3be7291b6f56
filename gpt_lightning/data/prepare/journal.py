"""Which units are finished: an append-only file beside their parts, so that a killed ``prepare`` goes on.

A unit counts as finished when its line is whole and its parts have the sizes stated there; parts are on disk before
their line is. What a kill leaves half written is simply done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from gpt_lightning.data.folders import JOURNAL_FILE
from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.tokenizing import ChunkResult, Job
from gpt_lightning.files.atomic import fsync_file, write_text_atomically
from gpt_lightning.files.sealing import seal, unseal


class Journal:
    """The journal of one working folder.

    Args:
        folder: The folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_FILE

    def begin(self, job: Job, units: Iterable[Chunk]) -> dict[str, ChunkResult]:
        """The finished units of this plan, by key; what belongs to another plan is deleted."""
        wanted = {job.key(unit): unit for unit in units}
        finished = {
            key: result
            for key, result in self._read().items()
            if key in wanted and _is_complete(job, wanted[key], result)
        }
        kept = {job.part_path(wanted[key], store).name for key in finished for store in range(len(job.tokenizers))}
        for path in job.folder.glob("part-*"):
            if path.name not in kept:
                path.unlink()
        # Written anew, since the last line may be a torn one that the next would be glued to.
        lines = [
            json.dumps({"units": len(wanted)}),
            *(json.dumps(seal(asdict(result))) for result in finished.values()),
        ]
        write_text_atomically(self._path, "\n".join(lines) + "\n")
        return finished

    def _read(self) -> dict[str, ChunkResult]:
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        results = {}
        for line in lines:
            try:
                result = ChunkResult(**unseal(json.loads(line)))
            except (ValueError, TypeError, AttributeError):
                continue  # the head, a line that was being written when the program was killed, or a damaged one
            results[result.key] = result
        return results

    def add(self, result: ChunkResult) -> None:
        """Note a finished unit, durably."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(seal(asdict(result))) + "\n")
            fsync_file(file)


def _is_complete(job: Job, unit: Chunk, result: ChunkResult) -> bool:
    paths = [job.part_path(unit, store) for store in range(len(job.tokenizers))]
    return len(result.sizes) == len(paths) and all(
        path.is_file() and path.stat().st_size == size for path, size in zip(paths, result.sizes, strict=True)
    )
