"""Masked language models: some tokens are hidden, every position sees the whole document and predicts the hidden ones.

BERT's (``MaskedLM``, Devlin et al. 2019) predicts a token at its own position, MNTP (``NextTokenMasked``, BehnamGhader
et al. 2024, LLM2Vec) at the position before it, as a causal decoder does, so that one head serves both:

    text              <eot> the  cat  sat   down
    MaskedLM   sees         the  <mask> sat  down      predicts  . cat . .       at the places of the words
    MNTP       sees   <eot> the  <mask> sat            predicts  . cat . .       one place before

Of the tokens that are chosen, 80 % are hidden by ``<|mask|>``, 10 % become a random token and 10 % stay, so that the
model cannot trust what it sees. The tokens that may be chosen are those that a causal model would predict: the same
text counts under every objective, and padding and the first tokens of documents under none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Needs, Scheduled
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, count_targets
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.schedules.schedules import Schedule

MASK = "<|mask|>"
"""The token that hides another one."""
_RATIO = "mask_ratio"


class MaskedLM(Corruption):
    """BERT's objective: hidden tokens are predicted where they stand, from both sides.

    Args:
        ratio: Share of the tokens that are chosen, above 0 and at most 1; each is drawn by itself.
        ratio_schedule: Multiplies it over the run, e.g. Linear with final_factor 0.5; null = the same throughout.
            A validation always has ``ratio``.
        mask_fraction: Share of the chosen tokens that are hidden.
        random_fraction: Share of them that become a random token; the others stay as they are.
        chunk_size: Positions whose logits exist at a time, see CausalLM.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        ratio: float = 0.15,
        ratio_schedule: Schedule | None = None,
        mask_fraction: float = 0.8,
        random_fraction: float = 0.1,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(chunk_size)
        if not 0 < ratio <= 1:
            raise ConfigError(
                "objective.ratio is out of range", got=ratio, allowed="above 0, at most 1", fix="Say 0.15."
            )
        fractions = {"mask_fraction": mask_fraction, "random_fraction": random_fraction}
        if min(fractions.values()) < 0 or sum(fractions.values()) > 1:
            raise ConfigError(
                "What becomes of the chosen tokens is no whole", got=fractions, allowed="from 0, together at most 1"
            )
        self._ratio, self._schedule = ratio, ratio_schedule
        self._mask_fraction, self._random_fraction = mask_fraction, random_fraction

    def needs(self, config: GPTConfig) -> Needs:
        """The mask."""
        return Needs(special_tokens=(MASK,))

    def sights(self) -> frozenset[Sight]:
        """Every position sees the whole document."""
        return frozenset({"open"})

    def step_values(self) -> Mapping[str, Scheduled]:
        """The ratio, where it changes."""
        return {} if self._schedule is None else {_RATIO: Scheduled(self._ratio, self._schedule)}

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """Every token but the first, which nothing predicts: some hidden, each predicted where it stands."""
        tokens, documents = batch.tokens.long(), batch.documents
        targets, weights = tokens[:, 1:], count_targets(batch)
        chosen = self._choose(targets, weights, draws, context)
        return Corrupted(
            tokens=self._hide(targets, chosen, draws, context),
            targets=targets,
            weights=_weigh(chosen, weights),
            documents=None if documents is None else documents[:, 1:],
            opens=True,
            unseen=tokens[:, :1],
        )

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """What is not predicted is seen as it is."""
        assert corrupted.unseen is not None
        assert corrupted.weights is not None
        text = torch.where(corrupted.weights > 0, corrupted.targets, corrupted.tokens)
        return Batch(torch.cat([corrupted.unseen, text], dim=1))

    def _choose(
        self,
        targets: Int[Tensor, "batch time"],
        weights: Float[Tensor, "batch time"] | None,
        draws: Draws,
        context: Context,
    ) -> Bool[Tensor, "batch time"]:
        """Which of the tokens that count are to be predicted."""
        ratio = context.values.get(_RATIO, self._ratio)
        chosen = draws.uniform("masked", targets.shape[1]) < ratio
        return chosen if weights is None else chosen & (weights > 0)

    def _hide(
        self, tokens: Int[Tensor, "batch time"], chosen: Bool[Tensor, "batch time"], draws: Draws, context: Context
    ) -> Int[Tensor, "batch time"]:
        """The tokens, the chosen ones hidden, replaced or left."""
        time = tokens.shape[1]
        fate = draws.uniform("masked as", time)
        other = draws.below("masked by", time, context.vocab_size)
        hidden = chosen & (fate < self._mask_fraction)
        replaced = chosen & ~hidden & (fate < self._mask_fraction + self._random_fraction)
        return torch.where(hidden, context.special_ids[MASK], torch.where(replaced, other, tokens))


class NextTokenMasked(MaskedLM):
    """Masked next-token prediction (MNTP): hidden tokens are predicted one place before, by the decoder's own head.

    It makes a bidirectional encoder out of a causal decoder, or one that is both, in turns with CausalLM (``Mixture``).
    Arguments as for MaskedLM.
    """

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """The tokens of a causal model, some hidden; the last target, which nothing shows, may be chosen as well."""
        tokens, documents = batch.tokens.long(), batch.documents
        targets, weights = tokens[:, 1:], count_targets(batch)
        chosen = self._choose(targets, weights, draws, context)
        hidden = self._hide(targets, chosen, draws, context)
        return Corrupted(
            tokens=torch.cat([tokens[:, :1], hidden[:, :-1]], dim=1),
            targets=targets,
            weights=_weigh(chosen, weights),
            documents=None if documents is None else documents[:, :-1],
            opens=True,
            unseen=tokens[:, -1:],
        )

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """What is not predicted is seen as it is, one place further."""
        assert corrupted.unseen is not None
        assert corrupted.weights is not None
        shown = torch.cat([corrupted.tokens[:, 1:], corrupted.unseen], dim=1)
        text = torch.where(corrupted.weights > 0, corrupted.targets, shown)
        return Batch(torch.cat([corrupted.tokens[:, :1], text], dim=1))


def _weigh(
    chosen: Bool[Tensor, "batch time"], weights: Float[Tensor, "batch time"] | None
) -> Float[Tensor, "batch time"]:
    return chosen.to(torch.float32) if weights is None else weights * chosen
