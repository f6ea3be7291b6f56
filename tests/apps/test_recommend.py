"""Recommendation: the protocol and its ties, shared prefix against plain, lists, the route, the four commands."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from gpt_lightning import cli
from gpt_lightning.apps.recommend.floors import CoOccurrence, Popularity
from gpt_lightning.apps.recommend.likelihood import ItemLikelihood
from gpt_lightning.apps.recommend.protocol import ask, choose_cold, evaluate, find_unseen, flatten, training_histories
from gpt_lightning.apps.recommend.recommender import Recommender, Wish
from gpt_lightning.apps.recommend.records import (
    Catalogue,
    Moment,
    RecommendSettings,
    read_catalogue,
    read_histories,
)
from gpt_lightning.apps.recommend.retrieval import INDEXES, diversify, embed_history
from gpt_lightning.apps.recommend.sample import make_builtin, read_movielens
from gpt_lightning.apps.recommend.service import RecommendEndpoints
from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, EncodingTokenizer, Tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.metrics.ranking import rank_targets
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.serving.app import build_app
from gpt_lightning.serving.server import build_service
from gpt_lightning.serving.settings import EngineSettings, Source
from gpt_lightning.serving.versions import build_versions
from gpt_lightning.weights.loading import LoadedModel

SAMPLE = make_builtin()
TITLES = [json.loads(line)["text"] for line in SAMPLE["items.jsonl"].splitlines()]
BPE = EncodingTokenizer(train_vocabulary(["\n".join(TITLES)], 400, "chinese"))


def write_sample(folder: Path, settings: RecommendSettings | None = None) -> tuple[Catalogue, Any]:
    settings = settings or RecommendSettings()
    for name, content in SAMPLE.items():
        (folder / name).write_text(content, encoding="utf-8")
    catalogue = read_catalogue(folder / "items.jsonl", settings)
    return catalogue, read_histories(folder / "interactions.jsonl", settings, catalogue)


def build_model(tokenizer: Tokenizer = BPE, block_size: int = 128) -> GPT:
    config = GPTConfig(2, 2, 16, block_size=block_size, vocab_size=tokenizer.vocab_size)
    model = GPT(config, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)  # so that logits differ
    return model


def build_recommender(catalogue: Catalogue, **settings: Any) -> Recommender:
    loaded = LoadedModel(build_model(), BPE, {}, Path("tiny"))
    return Recommender(loaded, catalogue, RecommendSettings(filter_fields=("genre", "language"), **settings))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    settings = RecommendSettings(filter_fields=("genre", "language"))
    return write_sample(tmp_path_factory.mktemp("sample"), settings)[0]


# Records


def test_the_sample_is_what_it_says(tmp_path: Path) -> None:
    catalogue, histories = write_sample(tmp_path)
    assert make_builtin() == SAMPLE
    assert (len(catalogue), len(histories)) == (120, 500)
    assert any("一" <= text[0] <= "鿿" for text in catalogue.texts)
    assert sum(len(each.items) > 1 for moments in histories.values() for each in moments) > 100
    # What a followed series has next is its next part, mostly.
    steps = Counter(b - a for moments in histories.values() for a, b in zip(flatten(moments), flatten(moments)[1:],
                                                                             strict=False))  # fmt: skip
    assert steps.most_common(1)[0][0] == 1


@pytest.mark.parametrize(
    ("items", "interactions", "words"),
    [
        ('{"id": 1, "text": "a"}\n', "", "fewer than two items"),
        ('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n', "", "items.jsonl:2 has the id of"),
        ('{"id": 1, "text": "a"}\n{"id": 2, "text": " a\\n"}\n', "", "items.jsonl:2 has the text of"),
        ('{"text": "a"}\n', "", "nothing in the field 'id'"),
        (None, '{"user": 1, "item": 9, "time": 0}\n', "not in items.jsonl"),
        (None, '{"user": 1, "item": 1, "time": "noon"}\n', "no number in the field 'time'"),
        (None, '{"user": 1, "time": 1}\n', "nothing in the field 'item'"),
    ],
)
def test_records_that_do_not_fit_are_named(tmp_path: Path, items: str | None, interactions: str, words: str) -> None:
    (tmp_path / "items.jsonl").write_text(items or '{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n')
    (tmp_path / "i.jsonl").write_text(interactions)
    settings = RecommendSettings()
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        read_histories(tmp_path / "i.jsonl", settings, read_catalogue(tmp_path / "items.jsonl", settings))


def test_csv_with_names_of_their_own_and_ratings(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n10,Heat,Crime|Drama\n20,Alien,Horror\n")
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n7,20,5.0,9\n7,10,2.0,8\n8,10,4.0,5\n7,10,4.5,12\n"
    )
    settings = RecommendSettings(
        item_field="movieId", text_field="{title} ({genres})", user_field="userId", interaction_item_field="movieId",
        time_field="timestamp", rating_field="rating", min_rating=3.0, filter_fields=("genres",),
    )  # fmt: skip
    catalogue = read_catalogue(tmp_path / "movies.csv", settings)
    assert catalogue == Catalogue(
        ["10", "20"], ["Heat (Crime|Drama)", "Alien (Horror)"], [{"genres": ["Crime|Drama"]}, {"genres": ["Horror"]}]
    )
    found = read_histories(tmp_path / "ratings.csv", settings, catalogue)
    assert found == {"7": [Moment(9.0, (1,)), Moment(12.0, (0,))], "8": [Moment(5.0, (0,))]}


def test_movielens_in_recboles_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tHeat\t1995\tCrime\n2\tSabrina\t1954\tComedy\n"
        "3\tSabrina\t1995\tComedy Drama\n4\tSabrina\t1995\tComedy Drama\n"
    )
    (tmp_path / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n9\t4\t3\t881250949\n9\t1\t4\t881250950\n"
    )
    found = {name: [json.loads(line) for line in text.splitlines()] for name, text in read_movielens(tmp_path).items()}
    assert [each["text"] for each in found["items.jsonl"]] == ["Heat", "Sabrina (1954)", "Sabrina (1995)"]
    assert [each["item"] for each in found["interactions.jsonl"]] == ["3", "1"]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"history": 0}, {"cold_fraction": 1.0}, {"max_users": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RecommendSettings(**wrong)


# Protocol and floors


def test_the_last_moment_is_held_out_and_its_order_means_nothing() -> None:
    histories = {
        "a": [Moment(1, (0, 1)), Moment(2, (2, 3))],
        "b": [Moment(1, (4,))],
        "c": [Moment(1, (5,)), Moment(3, (0,))],
    }
    trained = training_histories(histories)
    assert [flatten(each) for each in trained] == [(0, 1), (4,), (5,)]
    questions = ask(histories)
    assert [(q.user, q.history, q.targets) for q in questions] == [("a", (0, 1), (2, 3)), ("c", (5,), (0,))]
    turned = {**histories, "a": [Moment(1, (1, 0)), Moment(2, (3, 2))]}
    for floor in (Popularity, CoOccurrence):
        figures = [
            evaluate("f", ask(each), [floor(trained, 6).score(q.history) for q in ask(each)], 2).scores
            for each in (histories, turned)
        ]
        assert figures[0] == pytest.approx(figures[1])


def test_floors_count_as_loops_do(tmp_path: Path) -> None:
    catalogue, histories = write_sample(tmp_path)
    trained = training_histories(histories)[:80]
    people = [set(flatten(each)) for each in trained]
    history = flatten(trained[3])
    popular = [sum(item in each for each in people) for item in range(len(catalogue))]
    together = [
        sum(item in each and other in each for each in people for other in history[-10:] if other != item)
        for item in range(len(catalogue))
    ]
    assert Popularity(trained, len(catalogue)).score(history).tolist() == popular
    assert CoOccurrence(trained, len(catalogue)).score(history).tolist() == together


def test_cold_items_are_in_no_training_text(tmp_path: Path) -> None:
    catalogue, histories = write_sample(tmp_path)
    cold = choose_cold(catalogue.ids, 0.05)
    assert 2 <= len(cold) <= 12
    assert cold == {n for n, each in enumerate(catalogue.ids) if n in choose_cold(catalogue.ids, 0.2)} & cold
    trained = training_histories(histories, cold)
    assert cold <= find_unseen(trained, len(catalogue))
    asked = evaluate("m", ask(histories), [np.zeros(len(catalogue))] * 500, 10, cold)
    assert 0 < len(asked.items) < 100
    assert asked.scores["percentile"] == pytest.approx(50)


# Likelihood


def plain_scores(model: GPT, context: Sequence[int], lines: Sequence[Sequence[int]]) -> list[float]:
    """One forward pass for each item, in whole."""
    found = []
    for line in lines:
        ids = torch.tensor([[*context, *line]])
        with torch.inference_mode():
            logits = model.logits(model(ids[:, :-1]))[0].double().log_softmax(dim=-1)
        found.append(float(logits[-len(line) :].gather(1, ids[0, -len(line) :, None]).sum()))
    return found


def test_shared_prefix_gives_plain_scores_for_a_fifth_of_the_tokens(catalogue: Catalogue) -> None:
    model = build_model().double()
    likelihood = ItemLikelihood(model, BPE, catalogue, 20)
    history = list(range(0, 60, 3))
    context = likelihood.encode(history)
    assert len(context) > 40
    tokens: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, given: tokens.append(given[0].numel()))
    shared = likelihood.score(history)
    spent, tokens[:] = sum(tokens), []
    plain = plain_scores(model, context, likelihood.lines)
    handle.remove()
    np.testing.assert_allclose(shared, plain, atol=1e-6, rtol=0)
    assert spent <= sum(tokens) / 5
    assert [int(n) for n in np.argsort(-shared)[:10]] == [int(n) for n in np.argsort(-np.array(plain))[:10]]
    assert (likelihood.score(history) == shared).all()
    np.testing.assert_allclose(likelihood.score(history, [7, 3]), shared[[7, 3]], atol=1e-9)
    # The must-fail twin: a history without its latest item is another one.
    assert np.abs(likelihood.score(history[:-1]) - shared).max() > 1e-3


def test_whom_the_first_token_rules_out_is_not_asked_about(catalogue: Catalogue) -> None:
    likelihood = ItemLikelihood(build_model().double(), BPE, catalogue, 20)
    history, items = [3, 50, 7], [each for each in range(120) if each not in (3, 50, 7)]
    full = likelihood.score(history)
    assert (likelihood.bound(history) >= full - 1e-9).all()
    order = [each for each in np.argsort(-full, kind="stable").tolist() if each in items]
    for count in (1, 10, 117, 200):
        found = likelihood.score_best(history, items, count)
        best = [int(each) for each in np.argsort(-found, kind="stable")[: min(count, 117)]]
        assert best == order[:count]
        np.testing.assert_allclose(found[best], full[best], atol=1e-9)
    for marks in ([order[5]], [order[30], order[2]]):
        above = likelihood.score_above(history, items, marks)
        assert rank_targets(above, marks, history) == rank_targets(full, marks, history)


def test_little_is_asked_where_first_tokens_tell_much(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    likelihood = ItemLikelihood(build_model(), BPE, catalogue, 20)
    truth = -np.arange(120.0)
    asked: list[int] = []

    def score(history: Sequence[int], items: Sequence[int]) -> Any:
        asked.extend(items)
        return truth[list(items)]

    monkeypatch.setattr(likelihood, "score", score)
    monkeypatch.setattr(likelihood, "bound", lambda history: truth + 3.5)
    items = [each for each in range(120) if each != 4]
    best = likelihood.score_best([4], items, 10)
    assert np.argsort(-best, kind="stable")[:10].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert len(asked) == len(set(asked)) == 64
    asked.clear()
    above = likelihood.score_above([4], items, [7, 9])
    assert sorted(asked) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert rank_targets(above, [7, 9], [4]) == rank_targets(truth, [7, 9], [4])
    # The must-fail twin: a bound that is none rules out what is best.
    monkeypatch.setattr(likelihood, "bound", lambda history: truth - 3.5)
    assert rank_targets(likelihood.score_above([4], items, [7, 9]), [7, 9], [4]) != rank_targets(truth, [7, 9], [4])


@given(st.lists(st.sampled_from(TITLES), min_size=1, max_size=6))
def test_items_are_encoded_as_training_has_them(texts: list[str]) -> None:
    joined = "".join(f"{text}\n" for text in texts)
    alone = [int(token) for text in texts for token in BPE.encode(f"{text}\n")]
    assert alone == [int(token) for token in BPE.encode(joined)]


def test_a_history_is_cut_to_its_latest_whole_items(catalogue: Catalogue) -> None:
    likelihood = ItemLikelihood(build_model(block_size=40), BPE, catalogue, 20)
    context = likelihood.encode(list(range(30)))
    text = BPE.decode(context[1:])
    assert context[0] == BPE.eot_id
    assert text.endswith(f"{catalogue.texts[29]}\n")
    assert text in "".join(f"{each}\n" for each in catalogue.texts)
    assert len(context) + max(map(len, likelihood.lines)) <= 41
    assert likelihood.encode([]) == [BPE.eot_id]
    assert len(likelihood.score([])) == 120
    with pytest.raises(DataError, match="no room for a history"):
        ItemLikelihood(build_model(ByteTokenizer(), 16), ByteTokenizer(), catalogue, 20)


# Lists


def test_a_list_is_the_ranking_without_what_was_had_or_is_filtered(catalogue: Catalogue) -> None:
    recommender = build_recommender(catalogue)
    history = [3, 50, 7]
    scores = recommender.score(history)
    assert np.isneginf(scores[history]).all()
    found = recommender.recommend(Wish(history, 5))
    assert [each.item for each in found] == [int(n) for n in np.argsort(-scores, kind="stable")[:5]]
    assert [each.logprob for each in found] == sorted((each.logprob for each in found), reverse=True)
    assert found == recommender.recommend(Wish(history, 5))
    best = found[0].item
    assert best not in [each.item for each in recommender.recommend(Wish(history, 120, [best]))]
    only = recommender.recommend(Wish(history, 120, where={"language": ["zh"], "genre": ["space", "travel"]}))
    assert len(only) == len({each.item for each in only}) > 10
    assert all(catalogue.fields[each.item]["language"] == ["zh"] for each in only)
    assert {catalogue.fields[each.item]["genre"][0] for each in only} == {"space", "travel"}
    assert recommender.recommend(Wish(history, 5, where={"language": ["fr"]})) == []


def test_reasons_are_what_leaving_an_item_out_costs(catalogue: Catalogue) -> None:
    recommender = build_recommender(catalogue)
    history = [3, 50, 7]
    (first, *_) = recommender.recommend(Wish(history, 2))
    raised = {
        item: first.logprob - recommender.likelihood.score([each for each in history if each != item], [first.item])[0]
        for item in history
    }
    expected = sorted(((nats, item) for item, nats in raised.items() if nats > 0), reverse=True)[:2]
    assert [each.item for each in first.reasons] == [item for _, item in expected]
    assert [each.nats for each in first.reasons] == pytest.approx([nats for nats, _ in expected], abs=1e-5)
    assert recommender.recommend(Wish(history, 2, explain=False))[0].reasons == ()
    assert recommender.recommend(Wish([], 2))[0].reasons == ()


def test_candidates_are_the_nearest_items(catalogue: Catalogue) -> None:
    recommender = build_recommender(catalogue, candidates=15)
    history = [3, 50, 7]
    lengths = np.linalg.norm(recommender.embeddings, axis=1)
    assert np.abs(lengths - 1).max() < 1e-5
    near = recommender.embeddings @ embed_history(recommender.embeddings, history)
    near[history] = -np.inf
    expected = set(np.argsort(-near, kind="stable")[:15].tolist())
    assert set(np.flatnonzero(np.isfinite(recommender.score(history))).tolist()) == expected
    assert {each.item for each in recommender.recommend(Wish(history, 120))} == expected
    only = recommender.recommend(Wish(history, 120, where={"language": ["zh"]}))
    assert len(only) == 15  # filters come before the search's end


def test_indexes_agree(catalogue: Catalogue) -> None:
    pytest.importorskip("faiss")
    embeddings = build_recommender(catalogue).embeddings
    query = embed_history(embeddings, [3, 50, 7])
    found = [kind(embeddings).search(query, 10) for kind in INDEXES.values()]
    near = [(embeddings @ query)[each] for each in found]
    np.testing.assert_allclose(near[0], near[1], atol=1e-6)


def test_an_index_that_is_not_there_is_refused_by_name(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'annoy' \(allowed: exact, faiss\)"):
        build_recommender(catalogue, index="annoy")
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpt-lightning\[faiss\]'"):
        build_recommender(catalogue, index="faiss", candidates=5)


def test_diversity_trades_score_against_likeness() -> None:
    embeddings = np.array([[1, 0], [1, 0], [0.98, 0.2], [0, 1]], dtype=np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = np.array([0.0, -1.0, -2.0, -4.0])
    assert diversify(scores, embeddings, 3, 0.0) == [0, 1, 2]
    assert diversify(scores, embeddings, 3, 0.5) == [0, 3, 1]
    assert diversify(scores, embeddings, 9, 1.0)[:2] == [0, 3]
    assert diversify(np.zeros(2), embeddings[:2], 2, 0.3) == [0, 1]


# The route


@pytest.fixture(scope="module")
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    loaded = LoadedModel(build_model(), BPE, {}, Path("tiny"))
    versions = build_versions(loaded, [], EngineSettings())
    service, metrics = build_service({"recommend": Source("tiny")}, lambda base, adapters: versions)
    recommender = build_recommender(catalogue)
    histories = {"ada": [Moment(1, (3,)), Moment(2, (50, 7))]}
    endpoints = RecommendEndpoints(
        service, recommender, histories, name="recommend", fingerprint="fp_1", k=4, filter_fields=("genre", "language")
    )
    with TestClient(build_app(service, metrics, routes=endpoints.routes)) as found:
        yield found


def test_the_route_answers_as_the_recommender(client: TestClient, catalogue: Catalogue) -> None:
    answer = client.post("/v1/recommend", json={"history": [catalogue.ids[item] for item in (3, 50, 7)]}).json()
    same = client.post("/v1/recommend", json={"user": "ada", "model": "recommend"}).json()
    assert answer == same
    assert [each["item"] for each in answer["history"]] == [catalogue.ids[item] for item in (3, 50, 7)]
    expected = build_recommender(catalogue).recommend(Wish([3, 50, 7], 4))
    assert [each["item"] for each in answer["data"]] == [catalogue.ids[each.item] for each in expected]
    assert [each["logprob"] for each in answer["data"]] == pytest.approx([each.logprob for each in expected])
    reasons = [each["because"] for each in answer["data"]]
    assert [[one["item"] for one in each] for each in reasons] == [
        [catalogue.ids[one.item] for one in each.reasons] for each in expected
    ]
    assert answer["system_fingerprint"] == "fp_1"
    wishes = {
        "user": "ada",
        "k": 2,
        "where": {"language": "en"},
        "diversity": 0.5,
        "explain": False,
        "exclude": ["en0-1"],
    }
    few = client.post("/v1/recommend", json=wishes).json()["data"]
    assert len(few) == 2
    assert all(each["item"].startswith("en") and each["because"] == [] for each in few)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "Give history or user"),
        ({"history": ["en0-1"], "user": "ada"}, 400, "one of them"),
        ({"history": ["none"]}, 404, "There is no item 'none'"),
        ({"history": []}, 400, "history cannot be []"),
        ({"user": "eve"}, 404, "There is no person 'eve'"),
        ({"user": "ada", "where": {"colour": "red"}}, 400, "no field 'colour' (allowed: genre, language)"),
        ({"user": "ada", "where": {"genre": {}}}, 400, "where cannot be"),
        ({"user": "ada", "diversity": 2}, 400, "a number from 0 to 1"),
        ({"user": "ada", "k": 0}, 400, "a whole number from 1"),
        ({"user": "ada", "kk": 3}, 400, "There is no parameter"),
        ({"user": "ada", "model": "gpt"}, 404, "The model here is recommend"),
        ([], 400, "not a JSON object"),
    ],
)
def test_what_cannot_be_asked(client: TestClient, body: Any, status: int, words: str) -> None:
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_the_page_and_its_facts_come_beside_what_serve_has(client: TestClient) -> None:
    page = client.get("/")
    assert "<title>Recommendations</title>" in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    facts = client.get("/v1/items").json()
    assert (facts["total"], facts["users"], len(facts["data"])) == (120, ["ada"], 120)
    assert facts["fields"]["language"] == ["en", "zh"]
    assert client.get("/v1/models").json()["data"][0]["id"] == "recommend"
    assert client.post("/v1/embeddings", json={"model": "recommend", "input": "a"}).status_code == 200


# The commands

_TINY = [
    "--set=fit.model.config.n_layer=1", "--set=fit.model.config.n_embd=16", "--set=fit.trainer.max_steps=3",
    "--set=fit.monitor.details=false", "--set=fit.monitor.mfu=false", "--set=fit.trainer.limit_val_batches=1",
]  # fmt: skip


def test_from_nothing_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["app", "recommend", "init"]) == 0
    assert cli.main(["app", "recommend", "evaluate"]) == 3  # nothing is trained
    assert "recommend/model" in capsys.readouterr().err
    assert cli.main(["app", "recommend", "train", *_TINY]) == 0
    assert "n_head: 4\n" in Path("recommend/model/config.yaml").read_text(encoding="utf-8")  # beside what was set
    lines = [json.loads(line)["text"] for line in Path("recommend/histories.jsonl").read_text("utf-8").splitlines()]
    cold = {TITLES[number] for number in choose_cold([json.loads(line)["id"] for line in
            SAMPLE["items.jsonl"].splitlines()], 0.05)}  # fmt: skip
    assert len(lines) == 500
    assert cold.isdisjoint({title for text in lines for title in text.splitlines()})
    assert cli.main(["app", "recommend", "evaluate", "--set", "max_users=12"]) == 0
    assert "co-occurrence" in capsys.readouterr().out
    page = Path("recommend/report.md").read_text(encoding="utf-8")
    assert "hr@10" in page
    assert "Hit rate by length of the list" in page
    assert "because of" in page
