"""A round of continual learning: new rows -> a version -> a gate -> an alias, each stage done once.

    continual/chat/round-0001/
        round.json       what is settled: base, data, version, gate; replaced by one rename after every stage
        data/            of feedback build         replay.jsonl, tokenizer.json    what was known
        round.yaml       settings of fit, made     fit.yaml    settings of fit, from the file, over them
        run/             a run folder like any other

    1. data       build the rows and what is repeated; from here on the round is a function of its folder
    2. train      fit from the base; a killed one goes on from its last checkpoint
    3. register   a version with its parent and the fingerprints of its data
    4. judge      the gate, against what the alias stands for now
    5. promote    where it has passed

Killed anywhere, the next ``continual run`` goes on with the round: what was finished is not done again, and what comes
out is the same to the bit. A new round begins when there are enough rows that neither the base (and what that began
with) nor an earlier round of the same file and base was trained on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.checkpoints.registered import VERSIONS_DIR, find_model, find_version, read_aliases
from gpt_lightning.continual.gate import require_passed
from gpt_lightning.continual.replaying import write_replay
from gpt_lightning.continual.settings import TASKS, Continual
from gpt_lightning.errors import CheckpointError, ConfigError, DataError, FolderInUseError
from gpt_lightning.feedback.datasets import BUILD_FILE, build_rows, read_build, write_build
from gpt_lightning.feedback.store import open_feedback
from gpt_lightning.files.atomic import write_json_durably, write_text_durably
from gpt_lightning.files.locks import FileLock, LockHeld
from gpt_lightning.files.sealing import seal, unseal
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.history import promote
from gpt_lightning.registry.versions import add_version, find_user, now, read_version

ROUND_FILE, DATA_DIR, REPLAY_FILE = "round.json", "data", "replay.jsonl"
MADE_FILE, GIVEN_FILE, TOKENIZER_FILE, RUN_DIR = "round.yaml", "fit.yaml", "tokenizer.json", "run"
STAGES = ("data", "train", "register", "judge", "promote")
STEPS = 200
"""Of a round whose file says no length."""
log = logging.getLogger("gpt_lightning")


@dataclass(frozen=True)
class Settled:
    """What is settled of a round.

    Attributes:
        settings: Digest of the file's settings.
        base: Version that it begins with.
        begun: When, UTC.
        data: Fingerprints and descriptions of what it trains on; None = not built yet.
        version: What came out.
        passed: Whether the gate was passed.
        against: Version that it would replace, as it was judged.
        ended: When, UTC.
    """

    settings: str
    base: str
    begun: str
    data: Mapping[str, str] | None = None
    version: str | None = None
    passed: bool | None = None
    against: str | None = None
    ended: str | None = None


@dataclass
class Round:
    """A round and its folder."""

    folder: Path
    settled: Settled

    def settle(self, **facts: Any) -> None:
        """Write down that a stage is done."""
        self.settled = replace(self.settled, **facts)
        write_json_durably(self.folder / ROUND_FILE, seal(asdict(self.settled)))


@dataclass(frozen=True)
class News:
    """What there is to learn.

    Attributes:
        base: Version that a round would begin with.
        rows: How many training rows there are.
        new: How many of them neither the base nor an earlier round has seen.
        round: An unfinished round to go on with.
    """

    base: str
    rows: int
    new: int
    round: Round | None = None


def list_rounds(place: Path) -> list[Round]:
    """Rounds of a folder, oldest first.

    Raises:
        DataError: The record of one is damaged.
    """
    found = []
    for file in sorted(place.glob(f"round-*/{ROUND_FILE}")):
        if not file.parent.name[6:].isdecimal():
            continue
        try:
            found.append(Round(file.parent, Settled(**unseal(json.loads(file.read_text(encoding="utf-8"))))))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{file} is damaged ({error})", fix=f"Delete {file.parent}; its round begins anew."
            ) from error
    return found


def look(continual: Continual) -> News:
    """What there is to learn now; writes nothing.

    Raises:
        UserError: There is no such model, store or data set.
    """
    model = find_model(continual.model)
    base = find_version(model, continual.wanted)
    rounds = [each for each in list_rounds(continual.place) if each.settled.settings == continual.digest]
    same = [each for each in rounds if base in (each.settled.base, each.settled.passed and each.settled.version)]
    open_round = next((each for each in same if each.settled.ended is None), None)
    seen = {fingerprint for each in same for fingerprint in each.settled.data or {}}
    wanted: str | None = base
    while wanted is not None:
        version = read_version(model, wanted)
        seen |= version.data.keys()
        wanted = version.parent
    keys, known = _list_rows(continual, seen)
    return News(base, len(keys), len(keys - known), open_round)


def _list_rows(continual: Continual, seen: set[str]) -> tuple[set[str], set[str]]:
    """Keys of the training rows there are, and of those that data sets were made of."""
    if continual.data is not None:
        record = read_build(Path(continual.data))
        keys = set(record["keys"].get(f"train/{continual.kind}.jsonl", ()))
        return keys, keys if record["fingerprint"] in seen else set()
    with open_feedback(str(continual.feedback)) as store:
        rows, _ = build_rows(store, continual.rules)
        builds = store.builds()
    fraction = continual.rules.gate_fraction
    keys = {key for row in rows[continual.kind] if row.side >= fraction for key in row.keys}
    return keys, {key for fingerprint in seen for key in builds.get(fingerprint, ())}


def run_round(continual: Continual, until: str = STAGES[-1]) -> Round | None:
    """Go on with the round that was begun, or do a new one; None where there is too little to learn.

    Args:
        continual: What to do.
        until: The stage after which to stop.

    Raises:
        FolderInUseError: Another process is at it.
        DataError: The version did not pass the gate.
        UserError: A setting, the data or a checkpoint does not fit, or training had to stop.
        StopRequested: A signal asked to stop; the round goes on later.
    """
    continual.place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(continual.place / "continual.lock", beats=True)
    try:
        lock.acquire(wait=False)
    except LockHeld as held:
        raise FolderInUseError(f"{continual.place} is in use by {held}", fix="Wait for it.") from held
    try:
        news = look(continual)
        found = news.round
        if found is None:
            if news.new < continual.min_rows:
                return None
            found = _begin(continual, news)
        _do(continual, found, until)
        return found
    finally:
        lock.release()


def _begin(continual: Continual, news: News) -> Round:
    # Whatever else lies there, such as somebody's "round-0001 (copy)", has no number.
    numbers = [int(path.name[6:]) for path in continual.place.glob("round-*") if path.name[6:].isdecimal()]
    folder = continual.place / f"round-{max(numbers, default=0) + 1:04d}"
    folder.mkdir()
    begun = Round(folder, Settled(continual.digest, news.base, now()))
    begun.settle()
    return begun


def _do(continual: Continual, found: Round, until: str) -> None:
    """The stages that are left."""
    model, name = find_model(continual.model), found.folder.name
    for stage in STAGES[: STAGES.index(until) + 1]:
        done = found.settled
        if stage == "data" and done.data is None:
            log.info("%s: data, for training from %s", name, done.base)
            found.settle(data=_make_data(continual, found, model))
        elif stage == "train" and done.version is None:
            log.info("%s: training", name)
            _train(found)
        elif stage == "register" and done.version is None:
            run = found.folder / RUN_DIR
            version = add_version(model, run, parent=done.base, data=done.data, note=f"continual {name}")
            found.settle(version=version.id)
        elif stage == "judge" and (in_use := _baseline(continual, found, model)) not in (done.against, done.version):
            # Also where somebody has moved the alias since: a verdict holds against one version.
            log.info("%s: version %s at the gate, against %s", name, done.version, in_use)
            found.settle(passed=_judge(continual, found, model, in_use), against=in_use)
        elif stage == "promote":
            _promote(continual, found, model)


def _promote(continual: Continual, found: Round, model: Path) -> None:
    """The end of the round.

    Raises:
        DataError: The version did not pass the gate.
    """
    version, alias = str(found.settled.version), continual.promote
    if found.settled.passed and alias is not None:
        promote(model, version, alias, who=find_user(), why=f"{found.folder}: the gate was passed")
        log.info("%s: %s@%s is version %s now", found.folder.name, continual.model, alias, version)
    baseline = _baseline(continual, found, model)
    found.settle(ended=now())
    if not found.settled.passed:
        report = read_report(model, version, baseline)
        if report is None:
            raise CheckpointError(f"Version {version} has no report against {baseline}", fix="Run models gate.")
        require_passed(report)


def _make_data(continual: Continual, found: Round, model: Path) -> dict[str, str]:
    """Rows, what is repeated, the vocabulary and the settings; fingerprints of what is trained on."""
    data = found.folder / DATA_DIR if continual.data is None else Path(continual.data)
    if continual.data is None and not (data / BUILD_FILE).is_file():
        with open_feedback(str(continual.feedback)) as store:
            write_build(store, data, continual.rules)
    build = read_build(data)
    if f"train/{continual.kind}.jsonl" not in build["rows"]:
        raise DataError(f"{data} has no {continual.kind} to train on", got=", ".join(build["rows"]))
    checkpoint = locate(model / VERSIONS_DIR / found.settled.base)
    card = read_checkpoint(checkpoint)["gpt_lightning"]
    write_text_durably(found.folder / TOKENIZER_FILE, json.dumps(card["tokenizer"]) + "\n")
    known = ((card.get("config") or {}).get("data") or {}).get("block_size")
    block_size = min(known or card["model"]["block_size"], card["model"]["block_size"])
    used = {build["fingerprint"]: str(data)}
    if continual.replay is not None:
        fingerprint = write_replay(continual.replay, continual.kind, block_size, found.folder / REPLAY_FILE)
        used[fingerprint] = f"repeated: {', '.join(continual.replay.sources)}"
    made = {"init_from": str(model / VERSIONS_DIR / found.settled.base)}
    made |= _make_settings(continual, found.folder, data, block_size)
    write_text_durably(found.folder / MADE_FILE, dump_yaml(made))
    write_text_durably(found.folder / GIVEN_FILE, dump_yaml(continual.fit))
    return used


def _make_settings(continual: Continual, folder: Path, data: Path, block_size: int) -> dict[str, Any]:
    layout, objective = TASKS[continual.kind]
    source: dict[str, Any] = {"source": str(data / "train" / f"{continual.kind}.jsonl")}
    sources = {"new": source}
    if continual.replay is not None:
        source["weight"] = 1 - continual.replay.share
        sources["replay"] = {"source": str(folder / REPLAY_FILE), "weight": continual.replay.share}
    length = {("trainer", "max_steps"), ("trainer", "max_epochs"), ("run", "max_tokens")}
    said = any(key in (continual.fit.get(group) or {}) for group, key in length)
    return {
        "data": {
            "mixture": {"sources": sources},
            "layout": layout,
            "packing": "Document",
            "tokenizer": str(folder / TOKENIZER_FILE),
            "block_size": block_size,
        },
        "model": {
            "objective": objective,
            "adaptation": "LoRA",
            "schedule": {"class_path": "Cosine", "init_args": {"warmup": "10%"}},
        },
        "run": {"sample_tokens": 0},
        **({} if said else {"trainer": {"max_steps": STEPS}}),
    }


def _train(found: Round) -> None:
    """As ``fit --config round.yaml --config fit.yaml --run.dir run --resume auto`` does.

    Raises:
        ConfigError: The settings ask for several processes.
    """
    from gpt_lightning.training.fitting.build import build

    files = [found.folder / MADE_FILE, found.folder / GIVEN_FILE]
    run = build(*files, args=[f"--run.dir={found.folder / RUN_DIR}"])
    if run.trainer.world_size > 1:
        typed = " ".join(f"--config {file}" for file in files)
        raise ConfigError(
            "A round trains in one process",
            got=f"{run.trainer.world_size} processes",
            allowed="trainer.devices 1",
            fix=f"Train it yourself: gpt-lightning fit {typed} --run.dir {found.folder / RUN_DIR} --resume auto; then "
            "continual run goes on with what came out.",
        )
    run.fit("auto")


def _judge(continual: Continual, found: Round, model: Path, in_use: str) -> bool:
    """Whether the version has passed against another one."""
    data = found.folder / DATA_DIR if continual.data is None else Path(continual.data)
    aside = data / "gate" / f"{continual.kind}.jsonl"
    better = [*continual.gate.better, *([str(aside)] if aside.is_file() else [])]
    gate = replace(continual.gate, better=better)
    gate.check()
    return gate.judge(model, str(found.settled.version), in_use).passed


def _baseline(continual: Continual, found: Round, model: Path) -> str:
    """What the version would take the place of."""
    return read_aliases(model).versions.get(continual.promote or continual.wanted, found.settled.base)
