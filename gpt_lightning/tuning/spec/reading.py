"""A sweep file -> ``SweepSpec``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import parse_length
from gpt_lightning.parsing.shipped import find_shipped, suggest_shipped
from gpt_lightning.parsing.strict_yaml import YAMLProblem, load_yaml, read_document
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.tuning.pruning.early_termination import EarlyTermination, read_early_terminate
from gpt_lightning.tuning.spec import spec as records
from gpt_lightning.tuning.spec.parameters import Parameter, Values
from gpt_lightning.tuning.spec.reading_parameters import FIELDS, read_parameters
from gpt_lightning.tuning.spec.sections import Section, ask, to_number
from gpt_lightning.tuning.spec.trial_arguments import references

_FOREIGN_KEYS = (
    *("program", "command", "project", "entity", "controller", "apiVersion", "kind"),
    *("job", "image_uri", "launch", "scheduler", "settings"),
)
_SECTIONS = {"model", "data", "trainer", "run", "preset"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read_spec(path: Path, changes: Sequence[str] = (), bases: Sequence[Path] | None = None) -> records.SweepSpec:
    """Read and check a sweep file.

    Args:
        path: The file; or a configuration of ``fit``, which is then the base.
        changes: ``key=value`` of ``--set``; a key of a parameter is written with its dots:
            ``parameters.model.optimizer.lr.max=1e-2``.
        bases: Files to read in place of those that the file names (the copies in a sweep's folder).

    Raises:
        ConfigError: A key or value is wrong, with file and line.
    """
    document = read_document(path)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path} is not a sweep file", got=type(document.data).__name__, allowed="keys and values")
    content = dict(document.data)
    if "parameters" not in content and _SECTIONS & set(content):
        # A configuration of fit: with the parameters given by --set, a sweep in one line.
        stem = path.parent.name if path.stem == "config" else path.stem
        content = {"name": f"{stem}-sweep", "base": [str(path)]}
    for change in changes:
        _apply_change(content, change)
    lines = {setting.key: setting.line for setting in reversed(document.settings)}
    top = Section(content, "", str(path), lines)
    spec = read_top(top, content, path.stem, bases)
    top.finish()
    return spec


def read_top(top: Section, content: Mapping[str, Any], stem: str, bases: Sequence[Path] | None) -> records.SweepSpec:
    """The records of a whole file.

    Args:
        top: The file; it may write down what it is asked for (see ``reference``).
        content: The same as plain data, with changes applied.
        stem: Name of the sweep unless the file says another.
        bases: See ``read_spec``.
    """
    ignored = [key for key in _FOREIGN_KEYS if key in content]
    fixed = read_command(top.take("command"))
    for key in ignored:
        top.take(key)
    name = folder_name(top.text("name", stem))
    if not _NAME.fullmatch(name):
        top.refuse("name", "is not a folder's name", got=name, allowed="letters, digits, dots, dashes, underscores")
    parameters = read_parameters(top.section("parameters"), foreign=bool(ignored))
    parameters |= {key: Values(key, [value]) for key, value in fixed.items() if key not in parameters}
    ignored += [f"{key}.probabilities" for key in find_key(top.content.get("parameters"), "probabilities")]
    _check_spellings(top, parameters)
    metrics, target = _read_metrics(top, ignored)
    early = _read_early(top, metrics[0].goal, parameters)
    derive = dict(top.section("derive").content)
    for key in derive:
        if key in parameters:
            top.refuse(f"derive.{key}", "is a parameter as well", got=derive[key])
    return records.SweepSpec(
        name=name,
        description=str(top.take("description", "")),
        base=_read_bases(top, bases),
        seed=top.number("seed", 1337, least=0, whole=True),
        metrics=metrics,
        constraints=_read_constraints(top),
        method=_read_method(top),
        parameters=parameters,
        derive=_in_order(derive),
        enqueue=_read_points(top, parameters),
        early_terminate=early,
        reuse=_read_reuse(top),
        budget=_read_budget(top, target),
        repeat_best=_read_repeats(top),
        storage=_read_storage(top),
        retry=_read_retry(top),
        launcher=_read_launcher(top),
        ignored=tuple(ignored),
        raw={**content, "name": name},
    )


_SQLITE = "sqlite:///"


def _read_storage(top: Section) -> str:
    """Where the study is kept: a word, or a URL."""
    storage = top.text("storage", "sqlite")
    if storage not in ("sqlite", "journal") and "://" not in storage:
        is_file = "/" in storage or storage.endswith((".db", ".sqlite", ".sqlite3"))
        top.refuse(
            "storage",
            "is no storage",
            got=storage,
            allowed="sqlite, journal, or a URL such as postgresql://user@host/name",
            fix=f"For this file write sqlite:///{storage}."
            if is_file
            else did_you_mean(storage, ("sqlite", "journal")),
        )
    return storage


def _check_spellings(top: Section, parameters: Mapping[str, Parameter]) -> None:
    """Refuse one setting under two names: ``init_args`` may be left out, but the two would be two parameters.

    Two whose ``when`` exclude one another stay: no trial has both.
    """
    seen: dict[str, list[Parameter]] = {}
    for key, parameter in parameters.items():
        others = seen.setdefault(key.replace(".init_args", ""), [])
        for other in others:
            if not parameter.excludes(other):
                top.refuse(
                    f"parameters.{key}",
                    f"is the setting {other.key}, which is a parameter too",
                    got=key,
                    fix="Keep one, or give them conditions (when) of which only one can hold.",
                )
        others.append(parameter)


def folder_name(name: str) -> str:
    """The name of a sweep as that of its folder: words are joined by dashes."""
    return "-".join(name.split())


def read_command(command: Any) -> dict[str, Any]:
    """Fixed options in the ``command`` of a Weights & Biases file: settings that all trials have."""
    words = [str(each) for each in command] if isinstance(command, list) else []
    found: dict[str, Any] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "${" in word:
            continue
        if not equals:
            text = "true" if following.startswith(("--", "${")) else following
        found[key] = load_yaml(text)
    return found


def find_key(tree: Any, name: str, place: str = "parameters") -> list[str]:
    """Dotted places of the mappings that have a key."""
    if not isinstance(tree, Mapping):
        return []
    inner = [found for key, value in tree.items() for found in find_key(value, name, f"{place}.{key}")]
    return [*([place] if name in tree else []), *inner]


def _read_bases(top: Section, bases: Sequence[Path] | None) -> tuple[Path, ...]:
    named = [find_shipped(str(each), bare=True) or Path(str(each)) for each in top.sequence("base")]
    for path in named if bases is None else ():
        if not path.is_file():
            near = suggest_shipped(str(path))
            top.refuse("base", "is not a file", got=str(path), allowed="configuration files of fit", fix=near)
    return tuple(named if bases is None else bases)


def _read_metrics(top: Section, ignored: list[str]) -> tuple[tuple[records.Metric, ...], float | None]:
    several = top.sequence("metrics")
    if several and "metric" in top.content:
        top.refuse("metrics", "and metric are both given", got=several, allowed="one of them")
    sections = [top.item("metrics", each) for each in several] or [top.section("metric")]
    found, target = [], None
    for section in sections:
        at = section.text("at", "last")
        if not re.fullmatch(r"last|best|mean_last_[1-9]\d*", at):
            section.refuse("at", "is not known", got=at, allowed="last, best, mean_last_5")
        goal = section.text("goal", "minimize", ("minimize", "maximize"))
        impute = section.text("impute", records.Metric.impute, records.IMPUTATIONS)
        found.append(records.Metric(section.text("name", "val/loss"), goal, at, impute))
        target = section.number("target", target)
        if "impute_while_running" in section.content:
            section.take("impute_while_running")  # our samplers take running trials into account anyway
            ignored.append("metric.impute_while_running")
        section.finish()
    if len({metric.name for metric in found}) < len(found):
        top.refuse("metrics", "names a metric twice", got=[metric.name for metric in found])
    return tuple(found), target


def _read_constraints(top: Section) -> tuple[records.Constraint, ...]:
    found = []
    for each in top.sequence("constraints"):
        section = top.item("constraints", each)
        metric = section.text("metric", str(section.content.get("name", "")))
        limits = section.number("max"), section.number("min")
        if limits == (None, None):
            section.refuse("max", "or min is missing", got=dict(section.content))
        found.append(records.Constraint(section.text("name", metric), metric, *limits))
        section.finish()
    return tuple(found)


def _read_method(top: Section) -> records.Method:
    value = top.take("method", "tpe")
    if isinstance(value, Mapping):
        section = top.section("method")
        name, options = section.text("class_path", ""), dict(section.section("init_args").content)
        section.finish()
    else:
        name, options = {"bayes": "tpe"}.get(str(value), str(value)), {}
    if name not in records.METHODS and "." not in name:
        top.refuse(
            "method",
            "is not known",
            got=name,
            allowed=f"{', '.join(records.METHODS)}, bayes, or {{class_path, init_args}}",
            fix=did_you_mean(name, records.METHODS),
        )
    return records.Method(name, options)


def _read_points(top: Section, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    points = []
    for point in top.sequence("enqueue"):
        for key, value in top.item("enqueue", point).content.items():
            if key not in parameters:
                top.refuse(
                    "enqueue", f"sets {key}, which is no parameter", got=value, fix=did_you_mean(key, parameters)
                )
            ask(lambda key=key, value=value: parameters[key].encode(value), top, "enqueue")  # type: ignore[misc]
        points.append(dict(point))
    return tuple(points)


def _read_early(top: Section, goal: str, keys: Iterable[str]) -> EarlyTermination:
    content = dict(top.section("early_terminate").content)

    def read() -> EarlyTermination:
        early = read_early_terminate(content or None, goal)
        early.check_space(keys)
        return early

    return cast(EarlyTermination, ask(read, top, "early_terminate"))


def _read_reuse(top: Section) -> records.ReuseSettings:
    section, default = top.section("reuse"), records.ReuseSettings()
    if section.text("exact", "true", ("true", "false")) == "false":
        section.refuse("exact", "can only be true", got=False, fix="Steps are taken over bit for bit or not at all.")
    found = records.ReuseSettings(
        enabled=section.text("enabled", default.enabled, ("auto", "true", "false")),
        every=ask(lambda: _length(section, default.every), section, "every"),
        budget_bytes=section.bytes("budget", default.budget_bytes),
        verify=section.number("verify", 0.0, least=0.0),
    )
    section.finish()
    return found


def _length(section: Section, default: int | float | str) -> Any:
    every = section.take("every", default)
    parse_length(every, "reuse.every")
    return every


def _read_budget(top: Section, target: float | None) -> records.Budget:
    section = top.section("budget")
    stop = section.section("stop_when")
    cap = top.number("run_cap", None, least=1, whole=True)
    found = records.Budget(
        trials=section.number("trials", cap, least=1, whole=True),
        hours=section.number("hours", None, least=0),
        no_improvement=stop.number("no_improvement", None, least=1, whole=True),
        target=stop.number("target", target),
        failures=stop.number("failures", records.Budget().failures, least=1, whole=True),
    )
    stop.finish()
    section.finish()
    return found


def _read_repeats(top: Section) -> records.RepeatBest:
    section = top.section("repeat_best")
    given = section.sequence("seeds")
    seeds = [to_number(seed) for seed in given]
    if not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        section.refuse("seeds", "are not seeds", got=given, allowed="whole numbers from 0 on")
    found = records.RepeatBest(
        section.number("top_k", 1 if seeds else 0, least=0, whole=True), tuple(int(seed or 0) for seed in seeds)
    )
    section.finish()
    return found


def _read_retry(top: Section) -> records.Retry:
    section, default = top.section("retry"), records.Retry()
    found = records.Retry(
        max=section.number("max", default.max, least=0, whole=True),
        lease_seconds=section.seconds("lease", default.lease_seconds),
        grace_seconds=section.seconds("grace", default.grace_seconds),
        timeout_seconds=section.seconds("timeout", None),
        storage_seconds=section.seconds("storage", default.storage_seconds),
        wait_seconds=section.seconds("wait", default.wait_seconds),
    )
    if found.grace_seconds < 2 * found.lease_seconds:
        section.refuse("grace", "is too short for the lease", got=found.grace_seconds, allowed="twice retry.lease")
    section.finish()
    return found


def _read_launcher(top: Section) -> records.LauncherSettings:
    section, default = top.section("launcher"), records.LauncherSettings()
    workers, devices = section.take("workers", "auto"), section.take("devices", "auto")
    if workers != "auto":
        workers = section.number("workers", least=0, whole=True)
    found = records.LauncherSettings(
        type=section.text("type", default.type, records.LAUNCHERS),
        workers=workers,
        devices="auto" if devices == "auto" else tuple(str(each) for each in section.sequence("devices")),
        devices_per_trial=section.number("devices_per_trial", 1, least=1, whole=True),
        trials_per_device=section.number("trials_per_device", 1, least=1, whole=True),
        slurm=dict(section.section("slurm").content),
    )
    section.finish()
    return found


def _in_order(derive: dict[str, Any]) -> dict[str, Any]:
    """Derived settings after those they refer to.

    Raises:
        ConfigError: One refers to itself, perhaps by way of others.
    """
    ordered: dict[str, Any] = {}
    while len(ordered) < len(derive):
        waiting = [key for key in derive if key not in ordered]
        ready = [key for key in waiting if not (set(references(derive[key])) & set(waiting))]
        if not ready:
            raise ConfigError(f"derive.{waiting[0]} refers to itself", got=derive[waiting[0]])
        ordered |= {key: derive[key] for key in ready}
    return ordered


def _apply_change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError("--set takes key=value", got=change, fix="Say --set budget.trials=20.")
    try:
        value = load_yaml(text) if text else None
    except YAMLProblem as problem:
        raise ConfigError(f"--set {key} has a value that is not YAML: {problem}", got=text) from problem
    head, _, rest = key.partition(".")
    parts = [head, *_split_parameter(rest)] if head in ("parameters", "derive") and rest else key.split(".")
    target = content
    for part in parts[:-1]:
        inner = target.get(part)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        target[part] = inner
        target = inner
    target[parts[-1]] = value


def _split_parameter(rest: str) -> list[str]:
    """``model.optimizer.lr.max`` -> the key and its field; a key alone is set as a whole."""
    key, _, last = rest.rpartition(".")
    return [key, last] if key and last in FIELDS else [rest]
