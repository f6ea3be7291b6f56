"""Training under Lightning: the only room that knows it.

``build`` turns a configuration into a ``Run``; ``Run.fit`` trains it in a run folder. The same way serves the command
line, sweeps, tests and notebooks::

    from gpt_lightning.training.fitting.build import build

    run = build("configs/quickstart.yaml", {"trainer": {"max_steps": 20}})
    result = run.fit()                 # or run.fit(resume="auto")
    result.metrics["val/loss"], result.folder

    front          help and mistakes, before Lightning is imported; options, help_pages: what it knows of the settings
    consent        what a configuration runs or sends: not from a file alone
    command_line   LightningCLI: arguments in, one checked configuration out
    build          configuration -> trainer + module + datamodule
    run            what can be done with them; run_folder, start, resume: where, and from which checkpoint; beginning:
                   what is written before the first step; ending: how a run ended; memory_limit: whether it can fit
    reuse          steps that another run has done; trajectory: the key that finds them; reuse_check, reuse_estimate
    module         decoder + objective + optimizer + schedule, without logic of its own
    datamodule     the prepared store as loaders
    answering      predict with prompts: a file of them answered by all devices
    global_batch   tokens of a step -> micro-batches of every process; weighing: one weighted mean over all of them
    callbacks/     what happens around a step
    monitor        what a run shows of itself; observers: all who look on; chronicle: its start and its true end;
                   alerting: rules over its points; trackers: W&B, MLflow, CSV; speed: tokens, time, memory
    bench          the step measured; step_parts: where its time goes; advice, bench_report: what to make of it
    processes      who started them, how they find each other, and that they part
    sharding       FSDP2 and tensor parallelism: trainer.strategy fsdp2, tp; sharded_strategy, sharded_model: how

Resuming is exact because nothing depends on where a process happened to be: the order of samples and all randomness
are functions of the sample number, learning rates are functions of the step, and checkpoints exist only at optimizer
steps. Lightning's own loop states are not restored; its counters are set from the step (``progress``).
"""
