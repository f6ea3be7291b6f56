"""The record of sizes: published counts, plain data and messages."""

from __future__ import annotations

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT


@pytest.mark.parametrize(
    ("name", "published"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_presets_have_the_published_number_of_parameters(name: str, published: int) -> None:
    assert GPTConfig.preset(name).num_parameters == published


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_layer", [1, 3])
def test_closed_form_counts_what_the_model_has(bias: bool, n_layer: int) -> None:
    config = GPTConfig(n_layer=n_layer, n_head=2, n_embd=6, block_size=5, vocab_size=7, bias=bias)
    assert config.num_parameters == sum(parameter.numel() for parameter in GPT(config).parameters())


def test_preset_takes_changes() -> None:
    config = GPTConfig.preset("gpt2", dropout=0.1, vocab_size=50304)
    assert (config.n_embd, config.block_size, config.vocab_size, config.dropout) == (768, 1024, 50304, 0.1)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("modern-nano", 29), ("modern-small", 114), ("modern-medium", 317), ("modern-large", 690)],
)
def test_modern_presets_have_the_stated_number_of_parameters(name: str, millions: int) -> None:
    assert GPTConfig.preset(name).num_parameters == pytest.approx(millions * 1e6, rel=0.02)


def test_inner_width_is_free_or_follows() -> None:
    assert [GPTConfig(n_embd=768, mlp=mlp).inner_size for mlp in ("gelu", "relu2", "swiglu")] == [3072, 3072, 2048]
    assert GPTConfig(n_embd=780, mlp="swiglu").inner_size == 2112
    assert GPTConfig(mlp="swiglu", n_inner=100).inner_size == 100


def test_filling_reaches_the_next_multiple() -> None:
    sizes = {50257: 50304, 50304: 50304, 1: 128}
    for vocab_size, rows in sizes.items():
        assert GPTConfig(vocab_size=vocab_size, block_size=1, vocab_multiple=128).padded_vocab_size == rows


def test_windows_of_the_layers() -> None:
    config = GPTConfig(n_layer=4, window=8, global_every=3)
    assert [config.window_of(layer) for layer in range(4)] == [8, 8, None, 8]
    assert GPTConfig(window=8).window_of(11) == 8
    assert GPTConfig().window_of(0) is None


def test_plain_data_round_trip() -> None:
    config = GPTConfig(n_layer=3, n_head=5, n_embd=35, block_size=9, dropout=0.25, bias=False, norm="rms", smear=True)
    values = config.to_dict()
    assert all(value is None or type(value) in (int, float, bool, str) for value in values.values())
    assert GPTConfig.from_dict(values) == config


def test_complete_keeps_what_is_set() -> None:
    assert GPTConfig().complete(vocab_size=7, block_size=5).data_sizes() == (7, 5)
    assert GPTConfig(vocab_size=50304).complete(vocab_size=7, block_size=5).data_sizes() == (50304, 5)
    assert GPTConfig(block_size=64).complete(vocab_size=7, block_size=5).data_sizes() == (7, 64)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"n_embd": 100, "n_head": 12}, ["n_embd", "100", "n_head=12", "96 or 108"]),
        ({"n_embd": 4, "n_head": 6}, ["n_embd", "widths that work are 6."]),
        ({"n_layer": 0}, ["n_layer", "got 0"]),
        ({"n_head": -1}, ["n_head", "-1"]),
        ({"vocab_size": -5}, ["vocab_size", "-5"]),
        ({"n_layer": True}, ["n_layer", "True"]),
        ({"dropout": 1.0}, ["dropout", "1.0", "< 1"]),
        ({"dropout": -0.1}, ["dropout", "-0.1"]),
        ({"dropout": float("nan")}, ["dropout", "nan"]),
        ({"n_layers": 3}, ["n_layers", "Did you mean 'n_layer'?"]),
        ({"n_head": 12, "n_kv_head": 5}, ["n_kv_head", "got 5", "1, 2, 3, 4, 6, 12"]),
        ({"n_kv_head": 0}, ["n_kv_head", "got 0"]),
        ({"norm_eps": 0.0}, ["norm_eps", "got 0.0", "above 0"]),
        ({"rope_theta": float("inf")}, ["rope_theta", "inf"]),
        ({"rope_theta": 100.0, "n_embd": 36}, ["odd number", "got 3", "rope_theta to null"]),
        ({"logit_softcap": -1.0}, ["logit_softcap", "-1.0"]),
        ({"window": 0}, ["window", "got 0"]),
        ({"global_every": 2}, ["global_every", "no local layers", "Set window"]),
        ({"vocab_multiple": 0}, ["vocab_multiple", "got 0"]),
        ({"bigram_rows": 1}, ["bigram_rows", "got 1", "2 or more"]),
        ({"head_dim": 0}, ["head_dim", "got 0"]),
        ({"head_dim": 3, "rope_theta": 100.0}, ["odd number", "got 3"]),
        ({"rope_factor": 8.0}, ["rope_factor", "there are none", "rope_theta"]),
        ({"rope_factor": 0.5, "rope_theta": 100.0}, ["rope_factor", "got 0.5", "1 or more"]),
        ({"rope_factor": 8.0, "rope_theta": 100.0, "rope_low_factor": 4.0}, ["rope_low_factor", "(4.0, 4.0)"]),
        ({"rope_factor": 8.0, "rope_theta": 100.0, "rope_context": 0}, ["rope_context", "got 0"]),
        ({"rope_context": 99, "rope_theta": 100.0}, ["counts for nothing", "99", "Set rope_factor"]),
    ],
)
def test_wrong_sizes_are_told_in_one_line(values: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        GPTConfig.from_dict(values)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("name", "word", "meant"), [("norm", "rsm", "rms"), ("mlp", "relu", "relu2")])
def test_unknown_words_are_told_in_one_line(name: str, word: str, meant: str) -> None:
    config = GPTConfig()
    object.__setattr__(config, name, word)  # the type checks of the test session would refuse it first
    with pytest.raises(ConfigError, match=f"unknown {name}: got '{word}' .*Did you mean '{meant}'"):
        config.__post_init__()


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"gpt2-medium.*Did you mean 'gpt2-medium'"):
        GPTConfig.preset("gpt2-medum")


def test_incomplete_record_builds_no_model() -> None:
    with pytest.raises(ConfigError, match="vocab_size is not known yet"):
        GPT(GPTConfig(block_size=8))
    with pytest.raises(ConfigError, match="block_size is not known yet"):
        GPT(GPTConfig(vocab_size=8))


def test_heads_may_be_wider_than_their_share_of_the_stream() -> None:
    config = GPTConfig(n_layer=1, n_head=16, n_embd=1000, head_dim=128, n_kv_head=8)
    assert (config.head_size, config.query_size, config.key_value_heads) == (128, 2048, 8)
