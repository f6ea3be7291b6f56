"""The text between two texts, by a model that was trained to fill in (``objectives.corruptions.infilling``).

The prompt has the form that the model saw in training, as its checkpoint says, and the middle is over where the model
writes the token that ended every middle there:

    PSM    <eot> <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|>
    SPM    <eot> <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt_lightning.data.tokenizers.infill_tokens import END, MIDDLE, PREFIX, SENTINELS, SUFFIX
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import CheckpointError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.prompts import build_request
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import LARGEST_BIAS
from gpt_lightning.weights.loading import LoadedModel


@dataclass(frozen=True)
class InfillForm:
    """How a model is asked for a middle.

    Attributes:
        tokenizer: With the sentinels among its special tokens.
        suffix_first: The form SPM; otherwise PSM.
    """

    tokenizer: Tokenizer
    suffix_first: bool

    @staticmethod
    def of(loaded: LoadedModel) -> InfillForm:
        """The form that a model was trained with: PSM, unless it has seen SPM alone.

        Raises:
            CheckpointError: It was not trained to fill in.
        """
        missing = [name for name in SENTINELS if name not in loaded.tokenizer.specials]
        if missing:
            raise CheckpointError(
                f"The model of {loaded.path} was not trained to fill in",
                got=f"no token {missing[0]}",
                fix="Train with --model.objective FillInTheMiddle, or with a Mixture that has it as a part.",
            )
        settings = loaded.card.get("config", {}).get("model", {}).get("objective")
        rates = list(_find_spm_rates(settings))
        return InfillForm(loaded.tokenizer, bool(rates) and min(rates) == 1.0)

    def encode(self, prefix: str, suffix: str) -> list[int]:
        """Ids of a prompt; ``prefix`` is the beginning of a document, and ``suffix`` its end."""
        ids = self.tokenizer.specials
        before, after = (list(map(int, self.tokenizer.encode(text))) for text in (prefix, suffix))
        start, before = [self.tokenizer.eot_id, ids[PREFIX]], [*self.tokenizer.opening, *before]
        if self.suffix_first:
            return [*start, ids[SUFFIX], *after, ids[MIDDLE], *before]
        return [*start, *before, ids[SUFFIX], *after, ids[MIDDLE]]

    @property
    def end_id(self) -> int:
        """The token that ends a middle."""
        return self.tokenizer.specials[END]


def build_infill_request(form: InfillForm, prefix: str, suffix: str, settings: Mapping[str, Any]) -> Request:
    """The request for a middle; it ends at the end-of-middle token and nowhere else by itself.

    No other special token can be a part of a middle, whatever the model thinks likely: all are ruled out.

    Args:
        form: How the model is asked.
        prefix: Text in front.
        suffix: Text behind.
        settings: As for ``build_request``.
    """
    request = build_request(form.tokenizer, "", settings)
    specials = {form.tokenizer.eot_id, *form.tokenizer.specials.values()} - {form.end_id}
    bias = {**(request.sampling.logit_bias or {}), **dict.fromkeys(specials, -LARGEST_BIAS)}
    sampling = replace(request.sampling, logit_bias=bias)
    prompt = form.encode(prefix, suffix)
    return replace(request, prompt=prompt, sampling=sampling, stop_ids=(form.end_id,), slide=False)


@dataclass(frozen=True)
class Middle:
    """What a model put between two texts.

    Attributes:
        text: The middle.
        ended: Whether the model ended it, rather than ``max_tokens`` or the model's positions.
    """

    text: str
    ended: bool


def infill(
    loaded: LoadedModel, gaps: Sequence[tuple[str, str]], *, slots: int = 8, **settings: Any
) -> Iterator[Middle]:
    """The middles of several gaps, each a prefix and a suffix, in their order.

    Args:
        loaded: A model that was trained to fill in.
        gaps: Prefix and suffix of each.
        slots: Middles written at once.
        settings: By the names of ``prompts.SETTINGS``; ``temperature`` 0 takes the likeliest token each time.

    Raises:
        CheckpointError: The model was not trained to fill in.
        DataError: A gap leaves the model no position for a middle.
    """
    form = InfillForm.of(loaded)
    requests = [build_infill_request(form, *gap, settings) for gap in gaps]
    for completions in Engine(loaded.model, loaded.tokenizer, slots=slots).generate(requests):
        yield Middle(completions[0].text, completions[0].finish_reason == "stop")


def _find_spm_rates(settings: Any) -> Iterator[float]:
    """The shares of SPM of every objective in some settings that fills in."""
    if not isinstance(settings, Mapping):
        return
    if str(settings.get("class_path", "")).endswith("FillInTheMiddle"):
        yield float(settings.get("init_args", {}).get("spm_rate", 0.5))
    for value in settings.values():
        yield from _find_spm_rates(value)
