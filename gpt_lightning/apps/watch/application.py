"""The watch as an application: ``gpt-lightning app watch init | train | evaluate | run``."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_lightning.apps.application import AppFolder, Application
from gpt_lightning.apps.figures import Findings
from gpt_lightning.apps.serving import alone, serve_model
from gpt_lightning.apps.training import fit_model
from gpt_lightning.apps.watch.labels import MOODS, Moods, Topics, TopicWords, read_lexicon
from gpt_lightning.apps.watch.records import WatchSettings, list_inputs, read_rows, show_time
from gpt_lightning.apps.watch.sample import make_sample
from gpt_lightning.apps.watch.store import ALL, WatchStore
from gpt_lightning.apps.watch.watching import ALERTS_FILE, STDIN, STORE_FILE, Watcher, describe_alert
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.objectives.classifier import load_classifier
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.page import Page
from gpt_lightning.serving.settings import Address
from gpt_lightning.tracking.notifications import Webhook

if TYPE_CHECKING:
    from starlette.routing import Route

    from gpt_lightning.objectives.classifier import Classifier
    from gpt_lightning.serving.service import Service
    from gpt_lightning.serving.versions import Version

_Folder = AppFolder[WatchSettings]
_LOG = logging.getLogger("gpt_lightning")
_PAUSE_SECONDS, _END_SECONDS = 1.0, 10.0


class Watch(Application[WatchSettings]):
    """Topics and mood of a stream of texts."""

    name = "watch"
    title = "Topics and mood of a stream of texts, with alarms whose rate is stated"
    settings = WatchSettings

    def make_sample(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Made-up opinions about an economy, English and Chinese."""
        return make_sample()

    def train(self, folder: _Folder) -> None:
        """The mood, and the topics where a model names them."""
        settings = folder.settings
        data = {"data.source": str(folder.file(settings.train)), "data.packing": "Document"}
        fields = {"text_field": settings.text_field}
        fit_model(folder, data, _objective("Classify", "Labelled", label_field=settings.mood_field, **fields))
        if settings.topic_model:
            topics = _objective("MultiLabel", "MultiLabelled", labels_field=settings.topics_field, **fields)
            fit_model(folder, data, topics, model=settings.topic_model)

    def evaluate(self, folder: _Folder) -> Findings:
        """The mood beside the lexicon's on held-out texts; what a replay of the input would have raised."""
        settings = folder.settings
        texts, answers = _read_known(folder)
        classifier = load_classifier(folder.model)
        lexicon = read_lexicon(folder.file(settings.lexicon))
        labels = sorted({*classifier.labels, *MOODS, *answers})
        ours = [each["probabilities"] for each in classifier.label([[text] for text in texts])]
        floor = [_as_certain(mood, chance, labels) for mood, chance in lexicon(texts)]
        made = [_evaluate(who, said, texts, answers, labels) for who, said in (("ours", ours), ("lexicon", floor))]
        with self._replay(folder) as watcher:
            notes, alerts = _describe_replay(watcher) if settings.input not in ("", STDIN) else ([], [])
            charts = _draw_moods(watcher)
        return Findings(f"Watch: {folder.path}", made[0], made[1:], notes, lambda page: _show(page, alerts, charts))

    def run(self, folder: _Folder, address: Address) -> None:
        """A page, and texts from the input and by POST until a signal; one process per folder."""
        settings = folder.settings
        receivers = [Webhook(settings.webhook)] if settings.webhook else []
        if settings.input not in ("", STDIN):
            list_inputs(folder.file(settings.input))
        with alone(folder.path), contextlib.closing(WatchStore(folder.file(STORE_FILE), settings)) as store:
            moods, topics = _labellers(folder)
            watcher = Watcher(store, moods, topics, settings, folder.file(ALERTS_FILE), receivers)
            with _repeating("watch", _reader(watcher, folder)), _repeating("alerts", lambda _: watcher.tell()):

                def make_routes(service: Service, version: Version) -> Sequence[Route]:
                    from gpt_lightning.apps.watch.service import WatchEndpoints

                    return WatchEndpoints(service, watcher).routes

                serve_model(self.name, str(folder.model), address, make_routes)

    @contextlib.contextmanager
    def _replay(self, folder: _Folder) -> Iterator[Watcher]:
        """A watcher that has read the input, in a store of its own."""
        settings = folder.settings
        moods, topics = _labellers(folder)
        with tempfile.TemporaryDirectory() as scratch:
            store = WatchStore(Path(scratch, STORE_FILE), settings)
            with contextlib.closing(store):
                watcher = Watcher(store, moods, topics, settings, Path(scratch, ALERTS_FILE))
                if settings.input not in ("", STDIN):
                    watcher.read_files(folder.file(settings.input))
                yield watcher


APPLICATION = Watch()


def _read_known(folder: _Folder) -> tuple[list[str], list[str]]:
    """Texts that evaluate measures on, and their moods.

    Raises:
        DataError: A row has not both, or there is none.
    """
    settings, file = folder.settings, folder.file(folder.settings.test)
    texts, moods = [], []
    for number, (row, _) in enumerate(read_rows(file), 1):
        text, mood = ((row or {}).get(field) for field in (settings.text_field, settings.mood_field))
        if not isinstance(text, str) or not text.strip() or not isinstance(mood, str):
            raise DataError(
                f"Row {number} of {file} is no text with a mood",
                allowed=f"texts in {settings.text_field} and {settings.mood_field}",
            )
        texts.append(text)
        moods.append(mood)
    if not texts:
        raise DataError(f"{file} has no rows", fix="Set test to a file of texts with moods.")
    return texts, moods


def _objective(name: str, layout: str, **fields: str) -> dict[str, Any]:
    return {"model.objective": name, "data.layout": {"class_path": layout, "init_args": fields}}


def _labellers(folder: _Folder) -> tuple[Moods, Topics]:
    settings = folder.settings
    classifier = load_classifier(folder.model)
    if not set(settings.moods) <= set(classifier.labels):
        raise ConfigError("moods names what the model does not know", got=list(settings.moods),
                          allowed=", ".join(classifier.labels))  # fmt: skip
    if not settings.topic_model:
        return _moods_of(classifier), TopicWords(settings.topics)
    return _moods_of(classifier), _topics_of(load_classifier(folder.file(settings.topic_model)))


def _moods_of(classifier: Classifier) -> Moods:
    def label(texts: Sequence[str]) -> list[tuple[str, float]]:
        said = classifier.label([[text] for text in texts])
        return [(each["label"], each["probabilities"][each["label"]]) for each in said]

    return label


def _topics_of(classifier: Classifier) -> Topics:
    def label(texts: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(each["labels"]) for each in classifier.label([[text] for text in texts])]

    return label


def _reader(watcher: Watcher, folder: _Folder) -> Callable[[threading.Event], None]:
    """Reads the input: whole at first, then, where it is followed, what has come."""
    given, path = folder.settings.input, folder.file(folder.settings.input)
    done = given == ""

    def read(ending: threading.Event) -> None:
        nonlocal done
        if done:
            return
        if given == STDIN:
            watcher.read_stdin()
        else:
            watcher.read_files(path, ending.is_set)
        done = given == STDIN or not folder.settings.follow

    return read


@contextlib.contextmanager
def _repeating(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    """A thread that works again and again until the block ends; what fails is told, and tried again."""
    ending = threading.Event()

    def repeat() -> None:
        told = ""
        while not ending.is_set():
            try:
                work(ending)
            except Exception as problem:  # a thread that ended without a word would look like a quiet day
                if told != repr(problem):
                    _LOG.exception("watching failed, and is tried again")
                told = repr(problem)
            ending.wait(_PAUSE_SECONDS)

    # Standard input may never end: the process does not wait for it.
    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_END_SECONDS)


def _as_certain(mood: str, chance: float, labels: Sequence[str]) -> dict[str, float]:
    """Probabilities of all labels where only one is told: the rest share what is left."""
    others = (1 - chance) / (len(labels) - 1)
    return {each: chance if each == mood else others for each in labels}


def _evaluate(
    name: str, said: Sequence[Mapping[str, float]], texts: Sequence[str], answers: Sequence[str], labels: Sequence[str]
) -> Evaluation:
    items = [
        Item(
            text[:60], digest(text), {"": Choice(tuple(each.get(label, 0.0) for label in labels), labels.index(answer))}
        )
        for text, each, answer in zip(texts, said, answers, strict=True)
    ]
    measures = [Measure("Accuracy"), Measure("MacroF1", {"num_labels": len(labels)}), Measure("Calibration")]
    return Evaluation("mood", name, {"labels": list(labels)}, measures, items)


def _describe_replay(watcher: Watcher) -> tuple[list[str], list[str]]:
    settings, store = watcher.settings, watcher.store
    tallies, windows = store.tallies(), len(store.counts())
    if not windows:
        raise DataError("There is no event in the input", got=settings.input, fix="Check the fields of its rows.")
    stated = (
        f"Replay of {settings.input}: {tallies['texts']:,} texts in {windows:,} windows of "
        f"{settings.window_minutes:g} minutes, {tallies['duplicates']:,} duplicates, {tallies['late']:,} late, "
        f"{tallies['bad']:,} rows that are no events; {store.count_alerts():,} alerts."
    )
    rate = (
        f"Where no share changes, at most {settings.false_alarms:g} alarms a window are expected "
        f"({settings.false_alarms * windows:.2g} in these): Fisher's exact test, shared out among topics and moods."
    )
    return [stated, rate], [describe_alert(each) for each in store.alerts()]


def _draw_moods(watcher: Watcher) -> list[LineChart]:
    """The share of each watched mood by window, a curve for every topic."""
    length = watcher.settings.window_minutes / 60
    charts = []
    for mood in watcher.settings.moods:
        series = []
        for topic in watcher.store.topics():
            counts = watcher.store.counts(topic)
            first = min(counts)
            shares = [each.get(mood, 0) / sum(each.values()) for each in counts.values()]
            labels = [show_time(3600 * length * number) for number in counts]
            name = "all topics" if topic == ALL else topic
            series.append(Series(name, [length * (number - first) for number in counts], shares, labels=labels))
        if series:
            charts.append(LineChart(series, f"Share of {mood} texts", "hours", "share", y_limits=(0.0, 1.0)))
    return charts


def _show(page: Page, alerts: Sequence[str], charts: Sequence[LineChart]) -> None:
    page.heading("Mood over time")
    for chart in charts:
        page.chart(chart)
    page.heading("Alerts")
    for each in alerts or ["None."]:
        page.text(each)
