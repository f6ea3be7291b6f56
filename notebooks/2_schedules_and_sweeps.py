# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Schedules and sweeps
#
# How the learning rate changes over a run often matters more than small changes of the architecture. Here are the
# curves, a sweep over them with Optuna, and what it found.

# %%
import importlib.util

if importlib.util.find_spec("gpt_lightning") is None:
    get_ipython().run_line_magic("pip", "install --quiet gpt-lightning")

# %% [markdown]
# ## Curves
#
# A schedule is a pure function of the step: a factor on every learning rate.

# %%
from IPython.display import SVG

from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import WSD, Cosine, InverseSqrt, Linear
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import draw_picture

horizon = Horizon(total_steps=1000, tokens_per_step=1)
steps = list(range(1000))
shown = {"Cosine": Cosine(), "Linear": Linear(), "WSD, 20 % decay": WSD(decay="20%"), "InverseSqrt": InverseSqrt()}
series = [Series(name, steps, [each.factor(step, horizon) for step in steps]) for name, each in shown.items()]
SVG(draw_picture(LineChart(series, title="Schedules", x_label="step", y_label="factor", legend=True), ".svg"))

# %% [markdown]
# ## A sweep
#
# Any key of `fit` may vary, class names included; `when` is a condition. The base is a tiny model on bytes, a few
# seconds a trial; trials that have steps in common share them.

# %%
sweep = """
name: schedules
base: [sweeps/base/tiny.yaml]
metric: {name: val/loss, goal: minimize}
method: tpe
parameters:
  model.optimizer.lr: {distribution: log_grid, min: 1.0e-3, max: 8.0e-3, per_octave: 1}
  model.schedule: {values: [WSD, Cosine]}
  model.schedule.decay: {when: {model.schedule: WSD}, values: ["20%", "60%"]}
derive: {trainer.max_steps: 60}
budget: {trials: 6}
"""
with open("schedules.yaml", "w") as file:
    file.write(sweep)

# %% language="bash"
# gpt-lightning sweep validate schedules.yaml

# %% language="bash"
# gpt-lightning sweep run schedules.yaml

# %% language="bash"
# gpt-lightning sweep status schedules

# %% [markdown]
# ## The best of them
#
# A whole configuration, from which the same run comes out to the bit.

# %% language="bash"
# gpt-lightning sweep best schedules --out best.yaml

# %%
import gpt_lightning as gl

again = gl.build("best.yaml", {"run.name": "best"}).fit()
print(f"validation loss {again.metrics['val/loss']:.4f}")
