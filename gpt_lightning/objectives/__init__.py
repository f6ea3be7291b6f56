"""What is learned: an objective turns a model and a batch into a loss, on the device.

One prepared store of text serves every objective of the first two groups, because shifting, masking and corrupting
happen here; the others learn from columns beside the tokens (``data.layout``).

    tokens of a changed text   causal . corruptions/ masked, prefix, infilling, spans . mixture of any of them
    beside them                multi_token . contrastive                    modules of their own under ``extras.``
    answers                    sft                                          column ``marks``
    preferences                preferences: DPO, IPO, ORPO . KTO            ``marks``, ``reference``, ``desirable``

    base       Objective, what it needs, what it is told         draws      its random numbers
    losses     hidden states -> loss of every position <- linear_cross_entropy

What an objective trains beside the decoder (``extras.``) is whole on every process: ``ddp`` keeps it equal, a sharded
strategy refuses it, because FSDP2 here gathers and saves the decoder's blocks alone, and heads are small beside them.

A new objective is one class and a row in ``tests/contracts/test_objectives.py``; configs name it by its class.

>>> import torch
>>> from gpt_lightning.batch import Batch
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> from gpt_lightning.objectives.base import Learner
>>> from gpt_lightning.objectives.causal import CausalLM
>>> from gpt_lightning.objectives.draws import Draws
>>> model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=5))
>>> batch = Batch(tokens=torch.tensor([[0, 1, 2, 3, 4]]), samples=torch.tensor([17]))
>>> output = CausalLM()(Learner(model), batch, Draws(seed=0, samples=batch.samples))
>>> float(output.weight), output.losses.shape
(4.0, torch.Size([1, 4]))
"""
