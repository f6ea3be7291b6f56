"""Which packages a setting may name: a config file is code as soon as ``class_path`` imports what it likes.

Only classes and functions of the packages below can be named; nothing else is imported, not even to look at its type.
Within torch the functions that unpickle, compile or download are refused as well. A user's own module is allowed with
the environment variable ``GPT_LIGHTNING_TRUST_MODULES=my_models`` (comma-separated), or from Python with
``trust_modules("my_models")``.
"""

from __future__ import annotations

import os
import sys

from jsonargparse import set_parsing_settings

from gpt_lightning.errors import ConfigError

TRUSTED_PACKAGES = ("gpt_lightning", "lightning", "torch", "torchmetrics")
TRUST_VARIABLE = "GPT_LIGHTNING_TRUST_MODULES"

_REFUSED = (
    "*",
    "lightning.fabric.utilities.cloud_io",
    "torch.distributed.elastic",
    "torch.distributed.launch",
    "torch.distributed.run",
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.multiprocessing",
    "torch.package",
    "torch.serialization",
    "torch.utils.cpp_extension",
    "torch.utils.model_zoo",
)

_trusted: list[str] = list(TRUSTED_PACKAGES)


def trust_modules(*names: str) -> None:
    """Allow settings to name what lies in these modules or packages, for the rest of the process.

    Raises:
        ConfigError: Not the dotted name of a module.
    """
    for name in names:
        if name.partition(".")[0] == "jsonargparse" or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(
                "Only modules can be trusted",
                got=name,
                allowed="dotted module names, comma-separated",
                fix=f"For example {TRUST_VARIABLE}=my_models.",
            )
    _trusted.extend(name for name in names if name not in _trusted)
    # Lightning switches remote config files on when its CLI is imported; a config comes from this machine.
    set_parsing_settings(
        import_path_denylist=list(_REFUSED), import_path_allowlist=list(_trusted), config_read_mode_fsspec_enabled=False
    )


def apply_trust() -> None:
    """Put the rules, and what the environment adds to them, into force for every parser of the process."""
    names = [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()]
    trust_modules(*names)
    if names and os.getcwd() not in sys.path:
        # The user's module lies in the working directory; last, so that it cannot shadow an installed one.
        sys.path.append(os.getcwd())


def trusted_packages() -> list[str]:
    """Names whose contents a setting may refer to."""
    return list(_trusted)
