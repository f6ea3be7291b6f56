r"""How a conversation becomes one text: said once, for ``chat``, for training, and as the template that leaves.

    marked   <|im_start|>role\n ... <|im_end|>\n, where the tokenizer has these two as special tokens (ChatML)
    plain    User: ... / Assistant: ... and end-of-text behind an answer, for every other model

``ChatFormat.segments`` is what our own commands encode; ``ChatFormat.template`` is the same for transformers and vLLM,
in Jinja. Its ``generation`` block marks what the model writes, so that ``return_assistant_tokens_mask`` works. Jinja as
these programs set it up drops the newline behind a block, so every newline that counts is written out.

What somebody says can never become a control token, not even where a program encodes the finished text at once: a
special token's writing among the words is broken by a space (``< |im_end|>``), here and in the template alike. Answers
are trimmed: a model begins with a word, and a newline at the border could melt with the one before it into one token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpt_lightning.data.tokenizers.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")
"""Who may say something."""


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
    """A stretch of a conversation: ordinary text, or one special token as it is written.

    Attributes:
        text: What it says.
        special: Whether it is one token.
        message: Number of the message whose words (or end) it is, if the model wrote it; None = given to the model.
    """

    text: str
    special: bool = False
    message: int | None = None


@dataclass(frozen=True)
class ChatFormat:
    """How messages are written one behind the other; each ends with a newline.

    Attributes:
        name: ``marked`` or ``plain``.
        opening: Special token before a role; None = there is none.
        colon: What stands behind a role.
        space: What stands before what is said.
        end: Special token behind what is said; None = end-of-text.
        ends_all: Whether it stands behind every message, or behind answers only.
        capitalized: Whether roles are written with a capital.
        stop: Strings at which an answer is over as well.
    """

    name: str
    opening: str | None
    colon: str
    space: str
    end: str | None
    ends_all: bool
    capitalized: bool
    stop: tuple[str, ...] = ()

    def segments(
        self, messages: Sequence[Message], specials: Sequence[str], begin_of_text: str, end_of_text: str
    ) -> Iterator[Segment]:
        """A conversation; as every document, behind the end of the one before.

        Args:
            messages: What was said.
            specials: How the tokenizer writes its special tokens.
            begin_of_text: The one in front of a document.
            end_of_text: The one that ends a document.
        """
        yield Segment(begin_of_text, special=True)
        for number, message in enumerate(messages):
            yield from self.open(message.role)
            answers = message.role == "assistant"
            content, own = break_specials(message.content, specials), number if answers else None
            yield Segment(self.space + (content.strip() if answers else content), message=own)
            if self.ends_all or answers:
                yield Segment(self.end or end_of_text, special=True, message=own)
            yield Segment("\n")

    def open(self, role: str) -> Iterator[Segment]:
        """The beginning of a message."""
        if self.opening is not None:
            yield Segment(self.opening, special=True)
        yield Segment((role.capitalize() if self.capitalized else role) + self.colon)

    def end_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Ids at which an answer is over: what stands behind it, and where the model ends any text."""
        own = () if self.end is None else (tokenizer.specials[self.end],)
        return tuple(dict.fromkeys((*own, *tokenizer.end_ids)))

    def template(self, specials: Iterable[str]) -> str:
        """The same in Jinja.

        Args:
            specials: How the tokenizer writes its special tokens.
        """
        opening, colon, space = (_quote(text or "") for text in (self.opening, self.colon, self.space))
        role = "(message['role'] | capitalize)" if self.capitalized else "message['role']"
        answerer = _quote("Assistant" if self.capitalized else "assistant")
        end = "eos_token" if self.end is None else _quote(self.end)
        broken = "".join(f" | replace({_quote(mark)}, {_quote(_break(mark))})" for mark in specials)
        return (
            "{{- bos_token }}\n"
            "{%- for message in messages %}\n"
            f"{{{{- {opening} + {role} + {colon} }}}}\n"
            "{%- if message['role'] == 'assistant' %}\n"
            "{%- generation %}\n"
            f"{{{{- {space} + (message['content']{broken} | trim) + {end} }}}}\n"
            "{%- endgeneration %}\n"
            "{%- else %}\n"
            f"{{{{- {space} + (message['content']{broken}) }}}}{f'{{{{- {end} }}}}' if self.ends_all else ''}\n"
            "{%- endif %}\n"
            "{{- '\\n' }}\n"
            "{%- endfor %}\n"
            "{%- if add_generation_prompt %}\n"
            f"{{{{- {opening} + {answerer} + {colon} }}}}\n"
            "{%- endif %}\n"
        )


def break_specials(text: str, specials: Iterable[str]) -> str:
    """A text in which no special token is written, each broken by a space behind its first character."""
    for mark in specials:
        text = text.replace(mark, _break(mark))
    return text


def _break(mark: str) -> str:
    return f"{mark[:1]} {mark[1:]}"


def _quote(text: str) -> str:
    """A string of Jinja's."""
    return json.dumps(text, ensure_ascii=False)


MARKED = ChatFormat("marked", "<|im_start|>", "\n", "", "<|im_end|>", ends_all=True, capitalized=False)
PLAIN = ChatFormat("plain", None, ":", " ", None, ends_all=False, capitalized=True, stop=("\nUser:",))


def choose_format(tokenizer: Tokenizer) -> ChatFormat:
    """Marked where the vocabulary has its two tokens, else plain."""
    return MARKED if {MARKED.opening, MARKED.end} <= tokenizer.specials.keys() else PLAIN
