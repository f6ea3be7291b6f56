"""Weights in and out: a model from a checkpoint alone, and other projects' names, which appear only in this room.

    families      which architectures there are, and config.json <-> GPTConfig (rope_settings: rotary positions)
    gpt2, llama   names and layouts of their weights; keys: what both check
    tensor_files  safetensors and .bin: names and shapes first, numbers when asked
    foreign       config.json + tensor_files + tokenizer -> a model of ours; hub: where it lies
    resizing      another vocabulary or other positions, by stated rules
    loading       a model with its tokenizer, from a run or such a folder
    starting      weights to start a run from
    adapted       a base and what was trained beside it; peft_format, peft_prompts: the same as peft writes it
    labelling     heads, as others have them; calibration: what was found of one later
    onnx_graphs   a model of ours -> ONNX, checked by onnxruntime
    exporting     a model of ours -> a folder; model_card, verifying: what goes with it
    command       import and export

The tokenizer's part lies in ``data``: ``tokenizer_json`` and ``tokenizer_json_reading``.

>>> import torch
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> from gpt_lightning.weights.gpt2 import from_gpt2, to_gpt2
>>> config = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=4, vocab_size=5)
>>> model = GPT(config)
>>> theirs = to_gpt2(model.state_dict(), config)
>>> tuple(theirs["transformer.h.0.attn.c_attn.weight"].shape)
(8, 24)
>>> _ = model.load_state_dict(from_gpt2(theirs, config))
"""
