"""From feedback to a better version: whether a candidate may take the place of the version in use.

    judging     two evaluations of the same items -> one condition, held or not
    measuring   a version -> its evaluations, logged requests once more, answers that must not be
    gate        gpt-lightning models gate: both versions measured, a report beside the candidate, as page and as JSON
    settings    the file of a continual run
    replaying   what the model knew, as rows beside the new ones
    rounds      data -> train -> register -> judge -> promote, each done once, whatever is killed
    commands    gpt-lightning continual init, run, watch
    drift       gpt-lightning feedback drift: windows of answers against what the version was trained on

The way around: ``serve --feedback`` -> ``feedback build`` -> ``fit --init_from chat@production`` on its ``train/`` ->
``models add`` -> ``models gate`` on its ``gate/`` -> ``models promote``, which wants the report -> the server follows.
``continual run FILE`` is these in a row, and has nothing of its own: no training loop, no rule of promotion.

>>> from gpt_lightning.continual.judging import judge_better
>>> from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure
>>> from gpt_lightning.metrics.labels import Choice
>>> def evaluate(right):
...     items = [Item(str(n), str(n), {"": Choice((1.0, 0.0), int(n >= right))}) for n in range(100)]
...     return Evaluation("mood", "model", {}, [Measure("Accuracy")], items)
>>> judge_better(evaluate(70), evaluate(80)).passed, judge_better(evaluate(70), evaluate(71)).passed
(True, False)
"""
