"""Training under Lightning: the only package that knows it.

``build`` turns a configuration into a ``Run``; ``Run.fit`` trains it in a run folder. The same way serves the command
line, sweeps, tests and notebooks::

    from gpt_lightning.training.fitting.build import build

    run = build("configs/quickstart.yaml", {"trainer": {"max_steps": 20}})
    result = run.fit()                 # or run.fit(resume="auto")
    result.metrics["val/loss"], result.folder

Sub-packages, an import points down only (checked by ``make check``)::

    commands    fit, validate, test, predict
    profiling   doctor, bench, plot-schedule: memory and time estimated or measured, and what to change
    fitting     command_line -> build -> run: one checked configuration, its parts, what can be done with them
    reuse       steps that another run has done; fingerprint: the key that finds them
    parts       what a run is put together from
    watch       loggers, trackers, alerts, diagnostics, traces
    callbacks   what happens around a step: saving, the metrics log, the status line
    modules     the LightningModule; weighing: one weighted mean over a step; means of the weights, non-finite steps
    loading     the prepared store as loaders
    runs        settings, lengths, run folder, resume, how a run ended
    engine      processes, sharding (FSDP2, tensor parallelism), checkpoint input and output, private parts of Lightning


Resuming is exact because nothing depends on where a process happened to be: the order of samples and all randomness
are functions of the sample number, learning rates are functions of the step, and checkpoints exist only at optimizer
steps. Lightning's own loop states are not restored; its counters are set from the step (``progress``).
"""
