"""What the site shows of the code itself: mkdocs calls the functions whose names begin with ``on_``.

    reference/commands.md    the help of every command, as it prints it
    reference/settings.md    every setting of fit and predict, from their parser
    reference/classes.md     what a setting that takes a class may name
    reference/configs.md     the configurations that come along, by their headers
    reference/modules/*.md   a page for each package with its modules, filled by mkdocstrings
    explanation/schedules.md gets its curves
    changelog, contributing  lie beside this folder

Nothing is written into the repository: the pages exist in the build alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gpt_lightning"
BESIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
_PICTURES = "<!-- pictures of schedules -->"
_STEPS = 1000


def packages() -> dict[str, list[str]]:
    """Dotted name of every package -> those of its modules."""
    return {
        ".".join(init.parent.relative_to(ROOT).parts): [
            ".".join(file.relative_to(ROOT).with_suffix("").parts)
            for file in sorted(init.parent.glob("*.py"))
            if not file.stem.startswith("_")
        ]
        for init in sorted(PACKAGE.rglob("__init__.py"))
    }


def generated_pages() -> list[str]:
    """The pages that have no file in this folder."""
    written = [f"reference/{name}.md" for name in ("commands", "settings", "classes", "configs")]
    return [*BESIDE, *written, *(f"reference/modules/{name}.md" for name in packages())]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The packages in the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    pages = [{name.removeprefix("gpt_lightning."): f"reference/modules/{name}.md"} for name in packages()]
    reference.append({"Packages": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    from mkdocs.structure.files import File

    texts = {page: (ROOT / name).read_text(encoding="utf-8") for page, name in BESIDE.items()}
    texts |= {
        "reference/commands.md": "".join(describe_commands()),
        "reference/settings.md": "".join(describe_settings()),
        "reference/classes.md": "".join(describe_classes()),
        "reference/configs.md": "".join(describe_configs()),
    }
    for package, modules in packages().items():
        parts = [f"# {package}\n\n::: {package}\n", *(f"\n## {name}\n\n::: {name}\n" for name in modules)]
        texts[f"reference/modules/{package}.md"] = "".join(parts)
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The curves of the schedules in the page that has a place for them."""
    return markdown.replace(_PICTURES, "".join(draw_schedules())) if _PICTURES in markdown else markdown


def describe_commands() -> Iterator[str]:
    """Every command with the help that it prints."""
    from gpt_lightning.cli import main
    from gpt_lightning.commands import COMMANDS

    yield "# Commands\n\nEach with its help, as `gpt-lightning COMMAND --help` prints it.\n"
    os.environ["COLUMNS"] = "100"
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        yield f"\n## {group}\n"
        for name in (name for name, command in COMMANDS.items() if command.group == group):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                main([*name.split(), "--help"])
            yield f"\n### {name}\n\n{COMMANDS[name].help}\n\n```text\n{printed.getvalue().rstrip()}\n```\n"


def describe_settings() -> Iterator[str]:
    """Every setting of ``fit``, and what only ``predict`` has: type and range in words, default, meaning."""
    from gpt_lightning.parsing.expectations import describe_type, list_settings
    from gpt_lightning.training.fitting.command_line import TrainerCommandLine
    from gpt_lightning.training.fitting.options import known_settings

    yield (
        "# Settings\n\nEvery setting is an option (`--model.config.n_layer 6`), an entry of a YAML file and an "
        "environment variable (`GPT_LIGHTNING_MODEL__CONFIG__N_LAYER=6`).\n"
    )
    seen: set[str] = set()
    sections: dict[str, list[str]] = {}
    for command in ("fit", "validate", "predict"):
        texts = {key: parameter.text for key, parameter in known_settings(command).items()}
        parsed = list_settings(TrainerCommandLine(command, []).parser)
        for key in [key for key in parsed if key in texts and key not in seen]:
            seen.add(key)
            section = key.partition(".")[0] if "." in key else f"the command {command} itself"
            row = (describe_type(parsed[key].hint), f"`{_typed(parsed[key].default)}`", texts[key])
            sections.setdefault(section, []).append(_row(f"`{key}`", *row))
    for section, rows in sections.items():
        yield f"\n## {section}\n\n| setting | takes | default | meaning |\n|---|---|---|---|\n{''.join(rows)}"


def describe_classes() -> Iterator[str]:
    """The settings that take a class: which there are, with their arguments."""
    from gpt_lightning.training.fitting.options import class_settings, known_settings

    yield (
        "# Classes\n\nA class is named by its short name, and its arguments follow: "
        "`--model.schedule WSD --model.schedule.decay 20%`.\n"
    )
    for key, classes in class_settings(known_settings("fit")).items():
        yield f"\n## {key}\n"
        for name, arguments in classes.items():
            yield f"\n### {name} {{ #{key.replace('.', '-')}-{name.lower()} }}\n\n"
            yield "| argument | type | default | meaning |\n|---|---|---|---|\n" if arguments else "No arguments.\n"
            for argument, known in arguments.items():
                default = "required" if known.default is None else f"`{known.default}`"
                yield _row(f"`{argument}`", f"`{known.hint}`", default, known.text)


def describe_configs() -> Iterator[str]:
    """The configurations and sweeps that come along, with what their headers say."""
    from gpt_lightning.parsing.shipped import shipped_files

    yield "# Configurations and sweeps\n\nThey come along with the package: `gpt-lightning configs list`.\n"
    for name, file in shipped_files().items():
        lines = file.read_text(encoding="utf-8").splitlines()
        header = [line.removeprefix("#").removeprefix(" ") for line in _head(lines)]
        yield f"\n## {name}\n\n```text\n{chr(10).join(header)}\n```\n"


def draw_schedules() -> Iterator[str]:
    """Each schedule that needs no argument, as a picture of a run of 1,000 steps."""
    import inspect

    from gpt_lightning.optim.schedules.lengths import Horizon
    from gpt_lightning.optim.schedules.schedules import Schedule
    from gpt_lightning.parsing.suggest import known_subclasses
    from gpt_lightning.reports.charts import LineChart, Series
    from gpt_lightning.reports.pictures import draw_picture

    horizon = Horizon(total_steps=_STEPS, tokens_per_step=1)
    for name, kind in known_subclasses(Schedule).items():
        parameters = inspect.signature(kind).parameters.values()
        if any(each.default is each.empty for each in parameters):
            continue
        curve = [kind().factor(step, horizon) for step in range(_STEPS)]
        chart = LineChart(
            [Series(name, [float(step) for step in range(_STEPS)], curve)],
            title=name,
            x_label="step",
            y_label="factor",
            y_limits=(0, None),
        )
        meaning = (inspect.getdoc(kind) or "").partition("\n")[0]
        yield f"\n## {name}\n\n{meaning}\n\n{draw_picture(chart, '.svg').decode('utf-8')}\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()).replace("<", "&lt;") for cell in cells) + " |\n"


def _head(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def _typed(default: object) -> str:
    """A default as one types it."""
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    path = default.get("class_path") if isinstance(default, Mapping) or hasattr(default, "get") else None
    return str(path).rpartition(".")[2] if path else re.sub(r"<.*>", "", str(default)) or '""'
