"""Sweeps: many runs whose settings a sampler chooses, sharing one storage, surviving the death of any part.

    parameters      what a setting may be: values, ranges, grids; a value and its place in the storage
    derive          settings computed from others, with safe arithmetic
    spec            the records a sweep file is read into
    reading         YAML (ours or Weights & Biases') -> records; every mistake with file, line and nearest key
    sweep_folder    where everything of a sweep lies
    study           Optuna's study: created once, opened by many, never mixed with another space
    mailbox         what a trial and its supervisor tell each other, as files
    shape_key       the way that a learning rate has gone, as a key
    pruning         rules that stop trials early, halving: at rungs; early_termination reads them from a sweep file
    report          the page of a sweep; its facts (report_facts), where they come from (report_reading, importance),
                    its charts (report_charts, report_planes), its command (report_command)

A sweep file names base configurations and the keys to vary, in the words of ``fit``::

    base: [configs/quickstart.yaml]
    metric: {name: val/loss, goal: minimize}
    method: tpe
    parameters:
      model.optimizer.lr: {distribution: log_grid, min: 1e-3, max: 3.2e-2, per_octave: 2}
      model.schedule: {values: [WSD, Cosine]}
      model.schedule.decay: {when: {model.schedule: WSD}, values: ["20%", "40%"]}
    budget: {trials: 20}

Numbers may be written as people write them; a log grid has so many points in each doubling, and values on a grid can be
shared between trials:

    >>> from gpt_lightning.tuning.parameters import LogGrid
    >>> LogGrid("model.optimizer.lr", minimum=1e-3, maximum=4e-3, per_octave=2).grid()
    [0.001, 0.00141421, 0.002, 0.00282843, 0.004]

This is the only room that imports Optuna, which chooses the values and keeps the results. Everything below it is
unaware of sweeps: a trial is a run folder, made by the same ``build`` and ``fit`` as any other.
"""
