"""What a model is worth: perplexity on texts, texts against references, with intervals and comparisons.

Sub-packages, an import points down only (checked by ``make check``)::

    commands   evaluate ppl, tasks, text, compare, contamination      callbacks  scores while training (TaskScores)
    kinds      tasks: choices, cloze, written answers, from files     harness    our models in lm-evaluation-harness
    scoring    log-probabilities of texts and continuations           texts      text files, spacing, overlap
    outcomes   items, scores, intervals, comparison, pages


Every score is a function of sums over items (``metrics.sums``), so the same few lines give its value, its bootstrap
interval and the paired comparison of two models:

>>> from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
>>> from gpt_lightning.metrics.labels import Choice
>>> items = [Item(f"question {n}", digest(str(n)), {"": Choice((0.7, 0.3), int(n % 4 == 0))}) for n in range(40)]
>>> evaluation = Evaluation("quiz", "a model", {}, [Measure("Accuracy")], items)
>>> evaluation.scores
{'accuracy': 75.0}
>>> [round(limit) for limit in evaluation.intervals["accuracy"]]
[62, 88]
"""
