"""What is measured: sums that add up exactly over batches, epochs and processes.

    language      loss, perplexity, bits per byte of validation batches
    scores        a score = what an item adds + what the sums mean
    sums          the same as a torchmetrics class
    overlap       BLEU, chrF, ROUGE of texts              answers      exact match, token F1, edit distance
    labels        accuracy, macro F1, calibration         likelihood   perplexity of texts, words guessed
    cutting       how text is cut into words, Chinese too  drift          has what comes in changed?

Each metric is a pure pair (what an item or batch adds, what the sums mean) and a thin torchmetrics class around it.

>>> import torch
>>> from gpt_lightning.batch import LossOutput
>>> from gpt_lightning.metrics.language import BitsPerByte, Perplexity
>>> output = LossOutput(torch.tensor(1.0), torch.tensor(2.0), losses=torch.tensor([[0.5, 1.5]]),
...                     targets=torch.tensor([[1, 2]]))
>>> perplexity, bits = Perplexity(), BitsPerByte(torch.tensor([0, 1, 3]))
>>> perplexity.update(output); bits.update(output)
>>> round(float(perplexity.compute()), 3), round(float(bits.compute()), 3)
(2.718, 0.721)

Texts are cut as their language needs; with the libraries' defaults a Chinese text scores 0.0:

>>> from gpt_lightning.metrics.overlap import Answer, Bleu, Rouge
>>> from gpt_lightning.metrics.sums import SummedScore
>>> for cut in ("13a", "zh"):
...     metric = SummedScore(Rouge(cut))
...     metric.update([Answer("今天天气很好", ("今天的天气很好",))])
...     print(cut, round(float(metric.compute()["rougeL"]), 1))
13a 0.0
zh 92.3
"""
