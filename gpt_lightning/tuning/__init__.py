"""Sweeps: many runs whose settings a sampler chooses, sharing one storage, surviving the death of any part.

    parameters      what a setting may be: values, ranges, grids; a value and its place in the storage
    quantiles       normal and beta distributions, which Optuna does not have
    derive          settings computed from others, with safe arithmetic
    spec            the records a sweep file is read into
    reading         YAML (ours or Weights & Biases') -> records; every mistake with file, line and nearest key
    sweep_folder    where everything of a sweep lies
    checking        every key and edge value through the parser of ``fit``; planning says what it will cost
    study           Optuna's study: created once, opened by many, never mixed with another space
    sweep           spec, folder and study together; creating begins one, entries counts its trials
    samplers        who chooses values, seeded for each trial; grid: all combinations, and which nobody has
    claiming        the next trial, under the folder's lock; leases: who works on it, and who takes it over
    worker          claims and runs trials; supervisor: one attempt of a trial
    children        the trial's process (child, forked_trial, preload); reporting is its end of the mailbox
    mailbox         what a trial and its supervisor tell each other, as files; trial_letter: the first of them
    launchers       who starts workers: local or nobody, cluster_launchers: SLURM, Ray; running watches, live shows
    best            the best configuration, repetitions over seeds, tables
    surroundings    what else may differ between trials, compared with the first
    stopping        ``sweep stop`` and ``retry``; commands: all commands as typed
    repair          ``sweep fsck``; rebuilding: a lost study, from the trials' folders
    shape_key       the way that a learning rate has gone, as a key
    pruning         rules that stop trials early, halving: at rungs; early_termination reads them from a sweep file
    report          the page of a sweep; its facts (report_facts), where they come from (report_reading, importance),
                    its charts (report_charts, report_planes), its command (report_command)
    ladder          ``sweep ladder``: sizes x lengths x rates (ladder_file), laws (power_laws), its page (ladder_report)
    transfer        ``sweep transfer``: settings of a small model at a larger one, and what that costs
    fixed_trials    the trials of both: settings known beforehand, one after the other, sharing steps

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

    >>> from gpt_lightning.tuning.spec.parameters import LogGrid
    >>> LogGrid("model.optimizer.lr", minimum=1e-3, maximum=4e-3, per_octave=2).grid()
    [0.001, 0.0014142135623730952, 0.002, 0.0028284271247461905, 0.004]

From file to result one way: ``reading`` -> ``checking`` -> ``study`` (created once) -> a launcher starts workers. Each
of them claims a trial, writes its arguments into the trial's folder, starts it as a process that goes through the
``build`` and ``fit`` of every run, answers its reports, and tells the study one result. A worker, its trial or the
launcher may be killed at any point: what was going on is found by the others, and goes on from its own checkpoint.

This is the only room that imports Optuna, which chooses the values and keeps the results. Everything below it is
unaware of sweeps: a trial is a run folder, made by the same ``build`` and ``fit`` as any other.
"""
