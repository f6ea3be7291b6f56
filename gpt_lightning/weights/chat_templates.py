r"""How a conversation becomes one text: said once, for ``chat``, for training, and as the template that leaves.

    marked   <|im_start|>role\n ... <|im_end|>\n, where the tokenizer has these two as special tokens (ChatML)
    plain    User: ... / Assistant: ... and end-of-text behind an answer, for every other model

``ChatFormat.segments`` is what our own commands encode; ``ChatFormat.template`` is the same for transformers and vLLM,
in Jinja. Its ``generation`` block marks what the model writes, so that ``return_assistant_tokens_mask`` works. Jinja as
these programs set it up drops the newline behind a block, so every newline that counts is written out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpt_lightning.data.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Message:
    """Something said.

    Attributes:
        role: system, user or assistant.
        content: The text.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Segment:
    """A stretch of a conversation: ordinary text, or one special token as it is written."""

    text: str
    special: bool = False


@dataclass(frozen=True)
class ChatFormat:
    """How messages are written one behind the other; each ends with a newline.

    Attributes:
        opening: Special token before a role; None = there is none.
        colon: What stands behind a role.
        space: What stands before what is said.
        end: Special token behind what is said; None = end-of-text.
        ends_all: Whether it stands behind every message, or behind answers only.
        capitalized: Whether roles are written with a capital.
        stop: Strings at which an answer is over as well.
    """

    opening: str | None
    colon: str
    space: str
    end: str | None
    ends_all: bool
    capitalized: bool
    stop: tuple[str, ...] = ()

    def segments(self, messages: Sequence[Message], end_of_text: str) -> Iterator[Segment]:
        """A conversation up to where the next answer begins; as every document, behind the end of the one before.

        Args:
            messages: What was said.
            end_of_text: How the tokenizer writes it.
        """
        yield Segment(end_of_text, special=True)
        for message in messages:
            yield from self._open(message.role)
            yield Segment(self.space + message.content)
            if self.ends_all or message.role == "assistant":
                yield Segment(self.end or end_of_text, special=True)
            yield Segment("\n")
        yield from self._open("assistant")

    def end_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Ids at which an answer is over: what stands behind it, and where the model ends any text."""
        own = () if self.end is None else (tokenizer.specials[self.end],)
        return tuple(dict.fromkeys((*own, *tokenizer.end_ids)))

    def _open(self, role: str) -> Iterator[Segment]:
        if self.opening is not None:
            yield Segment(self.opening, special=True)
        yield Segment((role.capitalize() if self.capitalized else role) + self.colon)

    @property
    def template(self) -> str:
        """The same in Jinja."""
        opening, colon, space = (_quote(text or "") for text in (self.opening, self.colon, self.space))
        role = "(message['role'] | capitalize)" if self.capitalized else "message['role']"
        answerer = _quote("Assistant" if self.capitalized else "assistant")
        end = "eos_token" if self.end is None else _quote(self.end)
        content = f"{space} + message['content']"
        return (
            "{{- bos_token }}\n"
            "{%- for message in messages %}\n"
            f"{{{{- {opening} + {role} + {colon} }}}}\n"
            "{%- if message['role'] == 'assistant' %}\n"
            "{%- generation %}\n"
            f"{{{{- {content} + {end} }}}}\n"
            "{%- endgeneration %}\n"
            "{%- else %}\n"
            f"{{{{- {content} }}}}{f'{{{{- {end} }}}}' if self.ends_all else ''}\n"
            "{%- endif %}\n"
            "{{- '\\n' }}\n"
            "{%- endfor %}\n"
            "{%- if add_generation_prompt %}\n"
            f"{{{{- {opening} + {answerer} + {colon} }}}}\n"
            "{%- endif %}\n"
        )


def _quote(text: str) -> str:
    """A string of Jinja's."""
    return json.dumps(text, ensure_ascii=False)


MARKED = ChatFormat("<|im_start|>", "\n", "", "<|im_end|>", ends_all=True, capitalized=False)
PLAIN = ChatFormat(None, ":", " ", None, ends_all=False, capitalized=True, stop=("\nUser:",))


def choose_format(tokenizer: Tokenizer) -> ChatFormat:
    """Marked where the vocabulary has its two tokens, else plain."""
    return MARKED if {MARKED.opening, MARKED.end} <= tokenizer.specials.keys() else PLAIN
