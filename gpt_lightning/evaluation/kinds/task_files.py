"""Tasks as YAML files: those that come with the package, by name, and the user's own, by path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.kinds.choices import Classification, MultipleChoice
from gpt_lightning.evaluation.kinds.cloze import Cloze, Corpus, Generation
from gpt_lightning.evaluation.kinds.tasks import Task, TaskFiles
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.parsing.suggest import did_you_mean

SHIPPED = Path(__file__).parents[1] / "tasks"
KINDS: dict[str, type[Task]] = {
    kind.__name__: kind for kind in (MultipleChoice, Classification, Cloze, Generation, Corpus)
}  # fmt: skip


def shipped_tasks() -> dict[str, Path]:
    """Files of the tasks that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find_task(name: str) -> Path:
    """The file of a task, from its path or the name of one that comes with the package.

    Raises:
        ConfigError: There is none.
    """
    shipped = shipped_tasks()
    if name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    raise ConfigError(
        "There is no such task",
        got=name,
        allowed="the path of a YAML file, or one that gpt-lightning evaluate list shows",
        fix=did_you_mean(name, shipped) or "See gpt-lightning evaluate list.",
    )


def read_task(path: Path) -> Task:
    """The task that a YAML file describes: its ``kind``, and the arguments of that class and of ``TaskFiles``.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown, missing or of the wrong type.
    """
    content = read_yaml(path)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in KINDS:
        raise ConfigError(
            f"{path} does not say which kind of task it is",
            got=kind,
            allowed=", ".join(KINDS),
            fix="Write kind: Cloze.",
        )
    parser = StrictParser(prog=f"task {path.name}", default_env=False)
    parser.add_argument("--kind", type=str)
    parser.add_argument("-c", "--config", action="config")
    build: Any = KINDS[kind]
    parser.add_class_arguments(TaskFiles, as_group=False, skip=set(build.without))
    parser.add_class_arguments(build, as_group=False, skip={"files"})
    settings = vars(parser.instantiate(parser.parse_args([f"--config={path}"])))
    shared = {each.name: settings.pop(each.name) for each in fields(TaskFiles) if each.name in settings}
    own = {name: value for name, value in settings.items() if name not in ("kind", "config")}
    task: Task = build(files=TaskFiles(**shared), **own)
    task.home = path.parent
    return task


def read_tasks(names: Sequence[str]) -> list[Task]:
    """Several tasks, each with a name of its own.

    Raises:
        ConfigError: One is not there or not usable, or two have one name.
    """
    tasks = [read_task(find_task(name)) for name in names]
    known = [task.files.name for task in tasks]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise ConfigError("Two tasks have the same name", got=twice, fix="Name each task once.")
    return tasks
