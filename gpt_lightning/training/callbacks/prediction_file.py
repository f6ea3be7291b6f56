"""``predict``'s output: a JSON line per window with the log-probability of every token, or per text with its labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.objectives.labels import READOUTS
from gpt_lightning.objectives.readouts import Calibration
from gpt_lightning.training.engine.sharding import team_size


class PredictionFile(Callback):
    """Writes as batches arrive; process r > 0 writes a file of its own beside the first.

    Args:
        output: JSON lines file; replaced.
        tokenizer: Turns ids into the text shown.
        use: What the objective says of its use; empty = it is a language model.
    """

    def __init__(self, output: Path, tokenizer: Tokenizer, use: Mapping[str, Any]) -> None:
        self.path = output
        self._tokenizer, self._use = tokenizer, use
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
                for line in self._label(outputs, batch, row) if self._use else self._score(outputs, row):
                    file.write(json.dumps({"window": batch.position + row, **line}, ensure_ascii=False) + "\n")

    def _label(self, outputs: dict[str, Tensor], batch: Batch, row: int) -> Iterator[dict[str, Any]]:
        """A line for every text; in one whose words have labels, for every word."""
        readout, labels, begin = READOUTS[self._use["objective"]], self._use["labels"], 0
        for item in outputs["counted"][row].nonzero()[:, 0].tolist():
            values, answer = (outputs[name][row, item].tolist() for name in ("values", "answers"))
            end = int(outputs["ends"][row, item])
            ids = [token for token in batch.tokens[row, begin : end + 1].tolist() if token != self._tokenizer.eot_id]
            begin = end + 1
            said = readout.describe(values, labels, Calibration())
            yield {"text": self._tokenizer.decode(ids), **said, "answer": readout.describe_answer(answer, labels)}

    def _score(self, outputs: dict[str, Tensor], row: int) -> Iterator[dict[str, Any]]:
        counted = outputs["weights"][row] > 0
        ids = outputs["targets"][row][counted].tolist()
        if not ids:
            return
        logs = outputs["log_probabilities"][row][counted].double()
        yield {
            "loss": -logs.mean().item(),
            "text": self._tokenizer.decode(ids),
            "tokens": ids,
            "log_probabilities": [round(value, 6) for value in logs.tolist()],
        }
