"""How the weights move: learning-rate schedules, parameter groups, optimizers and gradient clipping.

A schedule is a pure function of the step, so nothing of it has to be saved: before every step the trainer asks
``schedule.factor(step, horizon)`` and writes ``initial_lr x factor`` into every group.

    schedules/       the common curves and their table; cyclic, piecewise: the others; lengths: steps, tokens, shares of
                     the run; warmup_cooldown and decay_shapes: what schedules have in common
    batch_ramps      a global batch that grows; batch_sizes: the table it comes down to
    groups           matrix, embedding, head, vector: each with its own learning rate
    parametrization  how initial values and rates follow width and depth
    optimizers       recipes (AdamW, Muon, Lion, ScheduleFree); muon, lion, schedule_free: the update rules themselves
    clipping         by the global norm
    dtensor          tensors of which this process holds some rows

>>> from gpt_lightning.optim.schedules.lengths import Horizon
>>> from gpt_lightning.optim.schedules.schedules import WSD
>>> schedule = WSD(warmup=4, decay="50%", final_factor=0.0)
>>> horizon = Horizon(total_steps=16, tokens_per_step=1024)
>>> [round(schedule.factor(step, horizon), 3) for step in (0, 3, 8, 12, 15)]
[0.25, 1.0, 1.0, 0.5, 0.125]
"""
