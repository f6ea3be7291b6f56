"""Sweeps: many runs whose settings a sampler chooses, sharing one storage, surviving the death of any part.

Sub-packages, an import points down only (checked by ``make check``)::

    commands   sweep run, worker, status, stop, best ...
    launch     creating begins a sweep, extending goes on from one, watching shows it; launchers start its workers
    workers    claiming: the next trial; leases: whose it is; supervisor: one attempt of it; repair: sweep fsck
    report     the page of a sweep: its facts, where they come from, its charts
    study      Optuna's study, the sweep's folder, its best; samplers choose, no point twice; checking tries every key
    trial      one trial's process: mailbox (what it and its supervisor tell each other), child, reporting
    scaling    sweep ladder and transfer: trials over sizes, laws fitted to them
    spec       YAML (ours or Weights & Biases') -> records; every mistake with its line; reference: all keys
    pruning    when a trial is ended early

The way of a trial, from the sweep file to its value, in modules that run on it (a test traces them)::

    spec.reading spec.sections spec.reading_parameters spec.parameters spec.spec     the file is read
    pruning.early_termination pruning.pruning                                        when a trial is ended early
    launch.creating study.checking spec.trial_arguments                              every edge value is tried
    study.sweep_folder study.study study.sweep study.board_tab                       the study is created, once
    workers.worker workers.claiming study.samplers study.entries                     a trial is claimed, values chosen
    workers.supervisor workers.slots trial.children                                  its process is started
    trial.child trial.mailbox trial.reporting                                        it builds, fits, reports
    spec.causes workers.leases                                                       it ends, with one value

Inside the trial's process it is ``training.fitting``, the ``build`` and ``fit`` of any run.

A sweep file names base configurations and the keys to vary, in the words of ``fit``::

    base: [configs/quickstart.yaml]
    metric: {name: val/loss, goal: minimize}
    method: tpe
    parameters:
      model.optimizer.lr: {distribution: log_grid, min: 1e-3, max: 3.2e-2, per_octave: 2}
      model.schedule: {values: [WSD, Cosine]}
      model.schedule.decay: {when: {model.schedule: WSD}, values: ["20%", "40%"]}
    budget: {trials: 20, stop_when: {failures: 3}}    # ends too when so many in a row fail of the same
    retry: {wait: 1m, max: 3}                         # a full disk: wait, longer each time, then stop the sweep

Every section is a record of ``spec/spec.py``, where its keys are explained. Numbers may be written as people write
them; a log grid has so many points in each doubling, and values on a grid can be shared between trials:

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
