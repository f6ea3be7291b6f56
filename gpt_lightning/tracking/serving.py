"""``gpt-lightning monitor``: TensorBoard on the runs of a folder, for this machine alone."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import sys
import threading
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, RunFolderError

_RELOAD_SECONDS = 5
_KEPT = "images=200,text=200,histograms=200,scalars=5000"


def monitor_command(
    runs: str = "runs", port: int | None = None, host: str = "127.0.0.1", allow_remote: bool = False
) -> None:
    """Show runs in TensorBoard, on an address that only this machine reaches, until Ctrl-C.

    Example: gpt-lightning monitor runs

    Args:
        runs: Folder of run folders, or one run folder.
        port: Port to listen on; null = 6006, or another one that is free.
        host: Address to listen on.
        allow_remote: Allow an address that other machines reach: TensorBoard asks nobody for a password.
    """
    folder = Path(runs)
    count = count_runs(folder)
    server, url = start(folder, port, host, allow_remote=allow_remote)
    sys.stdout.write(f"TensorBoard of {count} {'run' if count == 1 else 'runs'} in {folder}: {url}  (Ctrl-C ends it)\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        # Its helper process reads from a pipe of ours and ends with us.
        del server


def count_runs(folder: Path) -> int:
    """How many runs a folder holds.

    Raises:
        RunFolderError: It is no folder, or nothing in it can be shown.
    """
    if not folder.is_dir():
        raise RunFolderError(
            f"There is no folder {folder}",
            fix="Train first: gpt-lightning fit --config configs/quickstart.yaml. Or name the folder of your runs.",
        )
    found = {path.parent for path in folder.rglob("events.out.tfevents.*")}
    runs = [path for path in found if path.parent not in found]
    if not runs:
        raise RunFolderError(
            f"No run in {folder} has anything for TensorBoard",
            fix="A run writes for TensorBoard unless trainer.logger is set; metrics.jsonl holds its numbers as well.",
        )
    return len(runs)


def start(folder: Path, port: int | None, host: str, *, allow_remote: bool) -> tuple[Any, str]:
    """Start the server in a thread of this process.

    Args:
        folder: What to show.
        port: Where to listen; None = 6006 or another one that is free.
        host: On which address.
        allow_remote: Whether it may be one that other machines reach.

    Returns:
        The server, and its address.

    Raises:
        ConfigError: The address is not a loopback one, or the port is taken or no port.
    """
    if not _is_loopback(host) and not allow_remote:
        raise ConfigError(
            "Other machines could reach this address, and TensorBoard asks nobody for a password",
            got=host,
            allowed="127.0.0.1, ::1, localhost",
            fix="Forward the port instead (ssh -L 6006:127.0.0.1:6006 HOST), or add --allow_remote true.",
        )
    if port is not None and not 0 <= port <= 65535:
        raise ConfigError("port is out of range", got=port, allowed="0 (any free one) to 65535")
    # It says at every start that TensorFlow is not there.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard import default, program
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

    from gpt_lightning.tracking.hparams_tab import OrderedHParams

    plugins = [OrderedHParams if plugin is HParamsPlugin else plugin for plugin in default.get_plugins()]
    # The first tab with content is the one that opens. Scalars sorts by name, activations first and losses last and
    # folded; the charts laid out in board.layout begin with the losses.
    plugins.remove(CustomScalarsPlugin)
    plugins.insert(1, CustomScalarsPlugin)  # behind the core
    for choice in (port,) if port is not None else (6006, 0):
        server = program.TensorBoard(plugins=plugins)
        options: dict[str, Any] = {"logdir": folder, "host": host, "port": choice, "reload_interval": _RELOAD_SECONDS}
        options["load_fast"] = "true" if importlib.util.find_spec("tensorboard_data_server") else "false"
        options |= {"samples_per_plugin": _KEPT, "window_title": f"gpt_lightning: {folder}"}
        server.configure(argv=["tensorboard", *(f"--{name}={value}" for name, value in options.items())])
        try:
            return server, str(server.launch())
        except program.TensorBoardServerException as problem:
            reason = str(problem)
    raise ConfigError(
        f"TensorBoard cannot listen: {' '.join(reason.split()).rstrip('.')}",
        got={"host": host, "port": port},
        fix="Leave out --port: a free one is found.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
