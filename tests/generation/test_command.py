"""``generate`` as typed: what reaches the terminal, and that a seed fixes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt_lightning.cli import main
from gpt_lightning.data.tokenizers.kinds import CharTokenizer
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.command import choose_device
from gpt_lightning.model.config import GPTConfig
from tests.generation.models import TINY, tiny_model, write_run
from tests.weights.models import write_run as write_letters


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", best=1)


def written(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert main(["generate", "run", "--max_tokens=20", *args]) == 0
    return capsys.readouterr().out


def test_prompt_comes_first_and_a_newline_last(capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, "--prompt=Zwölf ")
    assert text.startswith("Zwölf ")
    assert text.endswith("\n")
    assert written(capsys, "--prompt=Zwölf ", "--max_tokens=0") == "Zwölf \n"


def test_seed_fixes_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "--seed=1") == written(capsys, "--seed=1") != written(capsys, "--seed=2")


def test_greedy_text_is_the_model_s_likeliest(capsys: pytest.CaptureFixture[str]) -> None:
    """Token by token without a cache, behind the end token as every document; the best checkpoint is step 1."""
    model, ids = tiny_model(1), [256, *b"ab"]
    with torch.no_grad():
        while len(ids) < 15:
            scores = model(torch.tensor([ids]))[0, -1] @ model.token_embedding.weight.T
            ids.append(int(scores.argmax()))
            if ids[-1] == 256:
                ids.pop()
                break
    wanted = bytes(ids[1:]).decode("utf-8", errors="replace") + "\n"
    assert written(capsys, "--prompt=ab", "--temperature=0", "--max_tokens=12", "--seed=9") == wanted


def test_last_checkpoint_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    greedy = ("--temperature=0", "--prompt=ab")
    assert written(capsys, *greedy, "--prefer=last") != written(capsys, *greedy)
    (Path("run") / "checkpoints" / "best.json").unlink()
    assert written(capsys, *greedy, "--prefer=last") == written(capsys, *greedy)


def test_samples_differ_and_the_first_is_that_of_a_single_one(capsys: pytest.CaptureFixture[str]) -> None:
    single, three = written(capsys, "--prompt=@"), written(capsys, "--prompt=@", "--num_samples=3")
    assert three.startswith(single)
    assert len({three[: len(single)], three[len(single) : 2 * len(single)]}) == 2


def test_top_k_one_is_greedy(capsys: pytest.CaptureFixture[str]) -> None:
    greedy = written(capsys, "--temperature=0")
    assert written(capsys, "--top_k=1") == greedy == written(capsys, "--top_p=1e-9", "--top_k=null")


def test_one_beam_is_greedy_and_more_give_several_texts(capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--prompt=ab", "--max_tokens=9")
    assert written(capsys, *short, "--beams=1") == written(capsys, *short, "--temperature=0")
    texts = written(capsys, "--prompt=zz", "--max_tokens=9", "--beams=3", "--num_samples=2").splitlines()
    assert len(texts) >= 2
    assert texts[0] != texts[1]


def test_settings_may_come_from_a_file_and_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("greedy.yaml").write_text("temperature: 0\nprompt: ab\n")
    monkeypatch.setenv("GPT_LIGHTNING_PROMPT", "zz")
    assert written(capsys, "--config=greedy.yaml") == written(capsys, "--temperature=0", "--prompt=ab")
    assert written(capsys, "--temperature=0").startswith("zz")


def test_long_prompt_goes_beyond_the_positions(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "long " * 20
    assert written(capsys, f"--prompt={prompt}").startswith(prompt)


def test_device() -> None:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    assert choose_device("auto") == (found.type if found is not None else "cpu")
    assert choose_device("cpu") == "cpu"
    for name in ("warp", "cpu:x", "cpu:9", "cuda:99", ""):
        with pytest.raises(ConfigError, match="no such device"):
            choose_device(name)


@pytest.mark.parametrize(
    "setting",
    [
        *("temperature=0.5", "top_k=3", "top_p=0.5", "min_p=0.1", "seed=2", "repetition_penalty=1.5"),
        *(
            "presence_penalty=1",
            "frequency_penalty=1",
            "stop=[x]",
            'logit_bias={"3": 1}',
            "draft_tokens=2",
            "logprobs=1",
        ),
    ],
)
def test_what_beams_do_not_follow_is_refused(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "run", "--prompt=ab", "--beams=3", f"--{setting}"]) == 2
    told = capsys.readouterr().err
    assert "--beams search and do not draw" in told
    assert setting.split("=")[0] in told


@pytest.mark.parametrize("value", ["300", "-300", "nan", "inf", "10.5"])
def test_a_length_penalty_that_no_score_survives_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "run", "--beams=3", f"--length_penalty={value}"]) == 2
    assert "length_penalty" in capsys.readouterr().err
    for extreme in ("10", "-10"):
        assert written(capsys, "--prompt=ab", "--beams=2", f"--length_penalty={extreme}").startswith("ab")


@pytest.mark.parametrize("bias", ["1e38", "-1e38", "1e5", "nan", "inf"])
def test_a_bias_beyond_what_logits_can_bear_is_refused(bias: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = f'{{"5": .{bias}}}' if bias in ("nan", "inf") else f'{{"5": {bias}}}'
    assert main(["generate", "run", "--prompt=ab", f"--logit_bias={value}"]) == 2
    assert "logit_bias" in capsys.readouterr().err
    # The largest that is allowed decides, however low the temperature.
    assert written(capsys, "--prompt=ab", '--logit_bias={"99": 10000}', "--temperature=1e-6") == f"ab{'c' * 20}\n"


def test_without_a_prompt_a_vocabulary_that_lacks_it_begins_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = CharTokenizer("abc de")
    config = GPTConfig.from_dict({**TINY.to_dict(), "vocab_size": tokenizer.vocab_size})
    write_letters(Path("letters"), config, tokenizer)
    capsys.readouterr()
    assert main(["generate", "letters", "--max_tokens=5"]) == 0
    told = capsys.readouterr().out
    assert "T" not in told
    assert main(["generate", "letters", "--max_tokens=3", "--beams=2"]) == 0
    assert written(capsys).startswith("The ")
    assert main(["generate", "letters", "--prompt=The ", "--max_tokens=5"]) == 3
    assert "'T'" in capsys.readouterr().err
