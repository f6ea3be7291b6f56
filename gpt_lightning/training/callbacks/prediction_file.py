"""``predict``'s output: one JSON line per window, with the log-probability of every token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.training.engine.sharding import team_size


class PredictionFile(Callback):
    """Writes as batches arrive; process r > 0 writes a file of its own beside the first.

    Args:
        output: JSON lines file; replaced.
        tokenizer: Turns ids into the text shown.
    """

    def __init__(self, output: Path, tokenizer: Tokenizer) -> None:
        self.path = output
        self._tokenizer = tokenizer
        self._idle = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an empty file."""
        rank, self._idle = divmod(trainer.global_rank, team_size(trainer))
        if self._idle:
            return  # another process has the same windows
        if rank > 0:
            self.path = self.path.with_stem(f"{self.path.stem}-rank{rank}")
        self.path.write_text("", encoding="utf-8")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the windows of this batch; padding is left out."""
        if self._idle:
            return
        with self.path.open("a", encoding="utf-8") as file:
            for row in range(batch.tokens.shape[0]):
                line = self._describe(outputs, row, batch.position + row)
                if line is not None:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _describe(self, outputs: dict[str, Tensor], row: int, window: int) -> dict[str, Any] | None:
        counted = outputs["weights"][row] > 0
        ids = outputs["targets"][row][counted].tolist()
        if not ids:
            return None
        logs = outputs["log_probabilities"][row][counted].double()
        return {
            "window": window,
            "loss": -logs.mean().item(),
            "text": self._tokenizer.decode(ids),
            "tokens": ids,
            "log_probabilities": [round(value, 6) for value in logs.tolist()],
        }
