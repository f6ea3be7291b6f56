"""A conversation as the tokens a model reads; how it is written is ``weights.chat_templates``'s.

Text between special tokens is encoded as one, as whoever reads the exported template does; the special ids are put
between, never parsed: what a user types is always ordinary text, even where it looks like a mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.weights.chat_templates import Message, choose_format


class Transcript:
    """How a conversation is written down for a model.

    Args:
        tokenizer: The model's.

    Attributes:
        format: Which one it reads.
        stop: Strings that end an answer.
        stop_ids: Tokens that end an answer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.format = tokenizer, choose_format(tokenizer)
        self.stop, self.stop_ids = self.format.stop, self.format.end_ids(tokenizer)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the conversation, up to where the next answer begins."""
        specials = self._tokenizer.specials
        end_of_text = next(text for text, number in specials.items() if number == self._tokenizer.eot_id)
        ids: list[int] = []
        for special, group in groupby(self.format.segments(messages, end_of_text), key=lambda each: each.special):
            if special:
                ids += [specials[segment.text] for segment in group]
            else:
                ids += self._tokenizer.encode("".join(segment.text for segment in group)).tolist()
        return ids
