# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A first run
#
# From nothing to a small GPT that was trained here, and what it writes. Two minutes on two CPU cores; nothing is
# downloaded but the package. In Colab the installed torch stays as it is.

# %%
import importlib.util

if importlib.util.find_spec("gpt_lightning") is None:
    get_ipython().run_line_magic("pip", "install --quiet gpt-lightning")

import gpt_lightning as gl

print("gpt_lightning", gl.__version__)

# %% [markdown]
# `build` takes what the command line takes: the name of a configuration that comes along, and settings by their
# dotted names. `quickstart` trains on the English prose that Python itself carries; 550 steps take three minutes,
# here are 100.

# %%
run = gl.build("quickstart", {"trainer.max_steps": 100, "run.name": "first", "run.sample_tokens": 0})
result = run.fit()

# %% [markdown]
# To interrupt is safe: stop the cell above while it trains, and it saves the step it is at and returns. Then
# `gl.build(...)` with the same settings and `fit(resume="auto")` goes on, and ends with the same numbers to the bit.

# %%
print(f"step {result.step}, validation loss {result.metrics['val/loss']:.2f} nats per token")
print("A model that knows nothing has ln 4096 = 8.32.")

# %% [markdown]
# ## What it writes

# %%
loaded = gl.load_model(result.folder)
text = gl.generate_text(loaded.model, loaded.tokenizer, "The ", max_tokens=60, sampling=gl.Sampling(top_k=50))
print("The " + "".join(text))

# %% [markdown]
# ## The curves
#
# Everything that was logged lies in the run folder, for TensorBoard (`%load_ext tensorboard`, `%tensorboard --logdir
# runs`) and as lines of JSON:

# %%
import json

from IPython.display import SVG

from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import draw_picture

logged = [json.loads(line) for line in (result.folder / "metrics.jsonl").open()]


def curve(name):
    points = [(row["step"], row[name]) for row in logged if name in row]
    return Series(name, [step for step, _ in points], [value for _, value in points])


chart = LineChart(
    [curve("train/loss"), curve("val/loss")], title="Loss", x_label="step", y_label="nats per token", legend=True
)
SVG(draw_picture(chart, ".svg"))
