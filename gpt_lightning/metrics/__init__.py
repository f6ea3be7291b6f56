"""What is measured on validation data: sums that add up exactly over batches, epochs and processes.

Each metric is a pure pair (what a batch adds, what the sums mean) and a thin torchmetrics class around it.

>>> import torch
>>> from gpt_lightning.batch import LossOutput
>>> from gpt_lightning.metrics.language import BitsPerByte, Perplexity
>>> output = LossOutput(torch.tensor(1.0), torch.tensor(2.0), losses=torch.tensor([[0.5, 1.5]]),
...                     targets=torch.tensor([[1, 2]]))
>>> perplexity, bits = Perplexity(), BitsPerByte(torch.tensor([0, 1, 3]))
>>> perplexity.update(output); bits.update(output)
>>> round(float(perplexity.compute()), 3), round(float(bits.compute()), 3)
(2.718, 0.721)
"""
