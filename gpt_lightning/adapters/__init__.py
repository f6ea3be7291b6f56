"""Adapters: a trained decoder changed by training little of it (``model.adaptation``).

    base weights loaded ──> Adaptation.attach ──> compile ──> training: gradients, optimizer state, means and
                            freezes the base,                 checkpoints of what is trained alone
                            puts AdaptedLinear in
                            the place of layers

    base       Adaptation: what every kind can be asked for
    targets    query, key, value, output, gate, expand, contract, head: words for the decoder's linear layers
    layers     AdaptedLinear (base's names unchanged), Delta (one adapter's part of it), the switch between adapters
    loading    settings -> adaptation; a checkpoint's state -> a model
    lora       LoRA, RsLoRA, PiSSA, DoRA
    adalora    AdaLoRA: ranks spread by importance, within a budget that falls
    scaling    IA3: a factor for every channel
    bottleneck Houlsby, Pfeiffer: small networks behind the branches of a block
    prefix     PrefixTuning, PromptTuning: learned positions ahead of every text
    int8       Int8Base: any of them on a base in 8 bits <- rounding
    freezing   Freeze: the upper layers of the base itself, one after the other if wanted

Several adapters lie side by side on one base, each under its name, and every row of a batch chooses its own.

>>> import torch
>>> from gpt_lightning.adapters.layers import find_switch
>>> from gpt_lightning.adapters.lora import LoRA
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=4, vocab_size=5))
>>> LoRA(r=2, targets=["query", "value"]).attach(model)
>>> sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)  # 2 r (inputs + rows)
64
>>> find_switch(model).active
'default'

To add a kind: a subclass of ``Adaptation`` in a file here (its short name is found by itself), a row in
``tests/contracts/test_adaptations.py``; what it does to a layer is a ``Delta``, what it puts ahead of texts a
``Beginning``.
"""
