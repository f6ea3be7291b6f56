"""What a model is worth: perplexity on texts, texts against references, with intervals and comparisons.

    windows        the loss of every token of a text longer than the model's window
    perplexity     documents one by one                    ppl_command    gpt-lightning evaluate ppl
    text_command   texts against references                text_files     lines and records with their places
    tasks          what a task is                          task_files     tasks as YAML, shipped ones in tasks/
    choices        multiple choice, classification         cloze          words to find
    writing        answers the model writes                callbacks      scores while training (TaskScores)
    corpora        whole files, published units            detokenizing   back from old tokenizations
    rows           files of benchmarks -> rows             templates      rows -> prompts -> ids (prompts)
    continuations  texts behind contexts, shared beginnings computed once (prefixes)
    results        items, scores, the JSON file            resampling     intervals and paired comparison
    reporting      the table, files, TensorBoard           page           HTML and Markdown
    models         the model of a path                     compare_command  two models on the same items
    contamination  was the benchmark in the training text  ngrams         runs that two texts have in common

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
