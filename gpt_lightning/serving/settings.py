"""What a server is told: how models are run, what a request may take, where it listens. Plain records."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gpt_lightning.errors import ConfigError


@dataclass(frozen=True)
class EngineSettings:
    """How models are run.

    Args:
        slots: Texts written at once.
        piece_tokens: Prompts are read in pieces of so many tokens.
        prompt_cache_mb: Memory for prompts that were read before, in millions of bytes.
        max_tokens: Most tokens of an answer.
        weights: float32, bfloat16, float16 or int8.
        prefer: Which checkpoint of a run folder: best or last.
        device: auto, cpu, cuda, mps.

    Raises:
        ConfigError: A number is out of range.
    """

    slots: int = 8
    piece_tokens: int = 64
    prompt_cache_mb: int = 256
    max_tokens: int = 4096
    weights: str = "float32"
    prefer: str = "best"
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_least(self, {"slots": 1, "piece_tokens": 1, "prompt_cache_mb": 0, "max_tokens": 1})


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Args:
        body_bytes: Of a request's body.
        body_seconds: Until it has arrived.
        request_seconds: Until an answer is complete, waiting included.

    Raises:
        ConfigError: A number is not positive.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    request_seconds: float = 600.0

    def __post_init__(self) -> None:
        _check_least(self, {"body_bytes": 1, "body_seconds": 0, "request_seconds": 0})


def _check_least(settings: EngineSettings | Limits, least: dict[str, int]) -> None:
    for name, lowest in least.items():
        value = getattr(settings, name)
        if not value >= lowest:
            raise ConfigError(f"{name} is out of range", got=value, allowed=f"{lowest} or more")


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Args:
        host: Address.
        port: 0 = any free one.
        allow_remote: Allow an address that other machines reach without asking anybody for a key.
        has_keys: Whether a key is asked for.

    Raises:
        ConfigError: Other machines reach it and there is no key; or the port is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allow_remote: bool = False
    has_keys: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError("port is out of range", got=self.port, allowed="0 (any free one) to 65535")
        if not (self.is_local or self.has_keys or self.allow_remote):
            raise ConfigError(
                "Other machines could reach this address, and nobody would be asked for a key",
                got=self.host,
                allowed="127.0.0.1, ::1, localhost",
                fix="Give --api_keys FILE, or add --allow_remote true.",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Source:
    """What a name points to.

    Attributes:
        base: Folder of a model.
        adapter: Folder of an adapter that was trained on it; None = the model as it is.
    """

    base: str
    adapter: str | None = None
