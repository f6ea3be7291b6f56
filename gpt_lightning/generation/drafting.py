"""Who guesses the next tokens, for an engine that keeps the guesses it would have written anyway (``engine``).

    Lookup   copies what followed the last tokens where the text had them before (``lookup``)
    Heads    asks the heads that were trained beside the decoder (``model.multi_token``)

A guess changes the time a text takes and never the text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.generation.lookup import propose
from gpt_lightning.generation.sequences import RunningSequence
from gpt_lightning.model.attention_mask import build_mask
from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.multi_token import FORMS, FurtherHeads, Surroundings
from gpt_lightning.model.positions import build_rotation
from gpt_lightning.weights.loading import LoadedModel


@dataclass
class DraftCounts:
    """How guessing went.

    Attributes:
        passes: Passes of the model that decoded.
        guessed: Tokens guessed.
        accepted: Those that were right.
    """

    passes: int = 0
    guessed: int = 0
    accepted: int = 0

    def describe(self, tokens: int) -> str:
        """One line about a text of so many tokens."""
        share = f" ({100 * self.accepted / self.guessed:.0f} %)" if self.guessed else ""
        return f"{self.accepted} of {self.guessed} guesses accepted{share}, {self.passes} passes for {tokens} tokens"


class Drafter(ABC):
    """Guesses at what follows a text."""

    @abstractmethod
    def propose(self, sequence: RunningSequence, most: int) -> list[int]:
        """Up to ``most`` tokens, 1 or more, that may follow the newest one of a text."""

    @abstractmethod
    def observe(self, sequence: RunningSequence, hidden: Float[Tensor, " embed"]) -> None:
        """The decoder's hidden state of a token that has joined the positions a text holds."""

    @abstractmethod
    def forget(self, sequence: RunningSequence) -> None:
        """A text is done."""


class Lookup(Drafter):
    """Copies from the text itself."""

    def propose(self, sequence: RunningSequence, most: int) -> list[int]:
        """What followed the last tokens before."""
        return propose(sequence.context, most)

    def observe(self, sequence: RunningSequence, hidden: Float[Tensor, " embed"]) -> None:
        """Hidden states say nothing to it."""

    def forget(self, sequence: RunningSequence) -> None:
        """It remembers nothing."""


@dataclass
class _Followed:
    """What the heads know of a text.

    Attributes:
        caches: Keys and values of each level.
        hidden: The decoder's states of the last positions.
        held: Positions seen; ``hidden`` ends there.
        done: Positions that the levels have been asked behind.
    """

    caches: list[LayerCache]
    hidden: list[Float[Tensor, " embed"]]
    held: int
    done: int = 0


class Heads(Drafter):
    """Asks further heads, each for its likeliest token.

    The heads look at all positions of a text, so the prompt goes through the decoder once more for them.

    Args:
        model: The decoder.
        heads: Trained beside it.
    """

    def __init__(self, model: GPT, heads: FurtherHeads) -> None:
        self._model, self.heads = model, heads.to(model.token_embedding.weight.device).eval()
        self._followed: dict[RunningSequence, _Followed] = {}

    def propose(self, sequence: RunningSequence, most: int) -> list[int]:
        """One token for each level."""
        known = self._followed.get(sequence)
        if known is None or known.held != sequence.held:  # new, or its window has slid
            known = self._followed[sequence] = self._begin(sequence)
        tokens = sequence.context[-(sequence.held + 1) :]
        # Levels have looked at guesses behind the last positions they were asked about: these are done again.
        start = max(0, known.done - self.heads.count)
        hidden = before = torch.stack(known.hidden[-(known.held - start) :])[None]
        for level in range(1, self.heads.count + 1):  # all of them: a gap in a level's memory could not be filled
            # The token so far behind each position; the last ones are guesses.
            embedded = self._model.token_embedding(self._on_device(tokens[start + level :])[None])
            before = self.heads.level(
                level, hidden, before, embedded, self._surround(known.caches[level - 1], start, known.held)
            )
            tokens = [*tokens, int(self._model.logits(before[:, -1])[0].argmax())]
        known.done = known.held
        known.hidden = known.hidden[-self.heads.count :]
        return tokens[sequence.held + 1 :][:most]

    def observe(self, sequence: RunningSequence, hidden: Float[Tensor, " embed"]) -> None:
        """Remembered until the next guess."""
        known = self._followed.get(sequence)
        if known is not None:
            known.hidden.append(hidden)
            known.held += 1

    def forget(self, sequence: RunningSequence) -> None:
        """Its memory is free."""
        self._followed.pop(sequence, None)

    def _begin(self, sequence: RunningSequence) -> _Followed:
        # A text is asked about from its prompt on, and anew behind every slide: what it holds then was read at once.
        tokens = self._on_device(sequence.context[-(sequence.held + 1) : -1])[None]
        hidden: Tensor = self._model(tokens, opens=self._model.reads_openly())
        caches = [LayerCache(self._model.block_size) for _ in range(self.heads.count)]
        return _Followed(caches, list(hidden[0]), sequence.held)

    def _surround(self, cache: LayerCache, start: int, end: int) -> Surroundings:
        config, device = self._model.config, self._model.token_embedding.weight.device
        cache.length = start
        opens = start == 0 and self._model.reads_openly()
        theta, rotation = config.rope_theta, None
        if theta is not None:
            rotation = build_rotation(start, end, config.head_size, theta, device, config.rope_scaling)
        return Surroundings(build_mask(end - start, end, device=device, opens=opens), rotation, cache)

    def _on_device(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor(tokens, device=self._model.token_embedding.weight.device)


def load_heads(loaded: LoadedModel) -> FurtherHeads:
    """The further heads of a checkpoint.

    Raises:
        CheckpointError: It has none.
    """
    state = {} if "imported_from" in loaded.card else read_checkpoint(loaded.path)["state_dict"]
    for form, kind in FORMS.items():
        prefix = f"extras.{form}."
        mine = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if mine:
            count = 1 + max(int(name.split(".")[1]) for name in mine if name.startswith("layers."))
            heads = kind(loaded.model.config, count)
            heads.load_state_dict(mine)
            return heads
    raise CheckpointError(
        f"The model of {loaded.path} has no heads that guess",
        fix="Train with --model.objective MultiToken, or leave --draft out.",
    )
