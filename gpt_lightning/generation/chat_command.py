"""``gpt-lightning chat``: a conversation on the terminal, or through a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.chat import Chat, Conversation
from gpt_lightning.generation.command import load_for_decoding
from gpt_lightning.generation.remote_chat import RemoteChat
from gpt_lightning.generation.sampling import Sampling

_HELP = """\
/help             this list
/reset            begin anew; the system message stays
/system TEXT      what the model is told first; without TEXT nothing
/regenerate       another answer to the last question
/history          all that was said
/save FILE        write the conversation, one JSON object per message
/quit             leave (or Ctrl-D); Ctrl-C stops an answer
"""


def chat_command(
    checkpoint: str | None = None,
    url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    system: str = "",
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 1337,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
) -> None:
    """Talk with a trained model. /help lists what else can be typed; piped lines are answered one by one.

    Example: gpt-lightning chat runs/quickstart-1
    Example: gpt-lightning chat --url http://127.0.0.1:8000
    Example: echo "What is a module?" | gpt-lightning chat runs/quickstart-1 --max_tokens 40

    Args:
        checkpoint: Run folder or checkpoint folder.
        url: Talk to a server of OpenAI's API instead (gpt-lightning serve): http://127.0.0.1:8000.
        model: Name of the server's model; null = its first.
        api_key: The server's key; set GPT_LIGHTNING_API_KEY rather than typing it.
        system: What the model is told before the conversation.
        max_tokens: Most tokens of an answer.
        temperature: Sharpness of the draw: 0 always takes the likeliest token, 1 draws from the model as it is.
        top_k: Draw from the k likeliest tokens only; null = from all.
        top_p: Draw from the likeliest tokens that together hold this probability; null = from all.
        min_p: Draw from tokens at least so many times as likely as the likeliest; null = from all.
        repetition_penalty: Above 1 makes tokens less likely that were said before.
        seed: The same seed, settings and questions give the same answers.
        weights: float32, bfloat16, float16 or int8; fewer bytes are faster and a little less exact.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    if max_tokens < 1:
        raise ConfigError("max_tokens is not positive", got=max_tokens, allowed="1 or more")
    if (checkpoint is None) == (url is None):
        raise ConfigError(
            "chat is with a model here or with a server",
            got={"checkpoint": checkpoint, "url": url},
            fix="Write gpt-lightning chat RUN, or chat --url http://127.0.0.1:8000.",
        )
    if url is not None:
        usual = Sampling()
        asked = {name: value for name, value in asdict(sampling).items() if value != getattr(usual, name)}
        asked |= {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        _Terminal(RemoteChat(url, model=model, key=api_key, settings=asked, system=system)).run()
        return
    loaded = load_for_decoding(str(checkpoint), prefer=prefer, device=device, weights=weights)
    _Terminal(Chat(loaded, sampling=sampling, max_tokens=max_tokens, seed=seed, system=system)).run()


class _Terminal:
    """Reads lines and writes answers; without a terminal only the answers are written."""

    def __init__(self, chat: Conversation) -> None:
        self._chat, self._live = chat, sys.stdin.isatty()
        self._told_forgotten = False
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._note(_HELP.rstrip()),
            "/reset": self._reset,
            "/system": self._set_system,
            "/regenerate": lambda _: self._show(chat.regenerate()),
            "/history": self._show_history,
            "/save": self._save,
        }

    def run(self) -> None:
        """Until the end of the input or /quit."""
        if self._live:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  gives input() a history and line editing
            self._note("Talk to the model. /help lists what else can be typed.")
        for line in self._lines():
            word, _, rest = line.partition(" ")
            if word == "/quit":
                return
            try:
                if word in self._commands:
                    self._commands[word](rest.strip())
                elif word.startswith("/"):
                    self._note(f"There is no {word}. /help lists what there is.")
                else:
                    self._show(self._chat.ask(line))
            except DataError as problem:
                self._note(str(problem))

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                line = input("You: ") if self._live else sys.stdin.readline()
            except EOFError:
                sys.stdout.write("\n")
                return
            except KeyboardInterrupt:
                self._note("\n/quit or Ctrl-D leaves.")
                continue
            if not self._live and not line:
                return
            if line.strip():
                yield line.strip()

    def _show(self, answer: Iterator[str]) -> None:
        if self._chat.forgotten and not self._told_forgotten:
            self._note("(The beginning of the conversation no longer fits; the model does not see it any more.)")
            self._told_forgotten = True
        if self._live:
            sys.stdout.write("Model: ")
        stopped = ""
        try:
            for piece in answer:
                sys.stdout.write(piece)
                sys.stdout.flush()
        except KeyboardInterrupt:
            stopped = " (stopped)"
        sys.stdout.write(f"{stopped}\n")
        sys.stdout.flush()

    def _note(self, text: str) -> None:
        """Said by the program, not by the model."""
        (sys.stdout if self._live else sys.stderr).write(f"{text}\n")

    def _reset(self, _: str) -> None:
        self._chat.reset()
        self._told_forgotten = False
        self._note("A new conversation.")

    def _set_system(self, text: str) -> None:
        self._chat.system = text
        self._note("The model is told so from now on." if text else "The model is told nothing first.")

    def _show_history(self, _: str) -> None:
        names = {"user": "You", "assistant": "Model"}
        self._note("\n".join(f"{names[each.role]}: {each.content}" for each in self._chat.messages) or "Nothing yet.")

    def _save(self, file: str) -> None:
        if not file:
            raise DataError("/save needs the name of a file", fix="/save talk.jsonl")
        self._chat.save(Path(file))
        self._note(f"Saved to {file}.")
