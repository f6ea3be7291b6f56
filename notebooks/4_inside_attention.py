# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Inside attention
#
# Which earlier tokens each position of a small model looks at, and how that comes about in training.

# %%
import importlib.util

if importlib.util.find_spec("gpt_lightning") is None:
    get_ipython().run_line_magic("pip", "install --quiet gpt-lightning")

import torch
from IPython.display import Image

import gpt_lightning as gl
from gpt_lightning.tracking.pictures import draw_attention, draw_heat_map
from gpt_lightning.tracking.probe import observe

# %% [markdown]
# ## A text with a repetition
#
# A sequence of random letters, twice. From the second time on, every letter can be known: it is what followed fifteen
# places back. Rotary positions tell distances, so one layer can learn that. Were the sequences of any length, it would
# take two: a head that notes what came before, and one that looks for it (an induction head).

# %%
generator = torch.Generator().manual_seed(0)
lines = []
for _ in range(4000):
    letters = "".join(chr(97 + int(n)) for n in torch.randint(0, 26, (16,), generator=generator))
    lines.append(letters + letters)
with open("twice.txt", "w") as file:
    file.write("\n\n".join(lines))

# %%
run = gl.build(
    {
        "data.source": "twice.txt",
        "data.tokenizer": "chars",
        "data.document_per": "paragraph",
        "data.packing": "Document",
        "data.block_size": 33,
        "data.batch_size": 64,
        "model.config.n_layer": 2,
        "model.config.n_head": 4,
        "model.config.n_embd": 64,
        "model.config.rope_theta": 10000.0,
        "model.optimizer.lr": 0.004,
        "trainer.max_steps": 250,
        "trainer.accelerator": "cpu",
        "run.name": "twice",
        "run.sample_tokens": 0,
        "monitor.details": False,
    }
)
result = run.fit()

# %% [markdown]
# The first half costs ln 26 = 3.26 nats a letter whatever is learned, the second nothing once the repetition is
# found, so that a mean near 1.6 says it was.

# %%
print(f"validation loss {result.metrics['val/loss']:.2f}")

# %% [markdown]
# ## Who looks where
#
# `observe` runs one text through the model and keeps the weights of attention, without changing what the model
# computes. A row is a position, a column what it looks at; the diagonal stripe 15 places back is the lookup.

# %%
loaded = gl.load_model(result.folder)
tokens = torch.tensor([loaded.tokenizer.eot_id, *loaded.tokenizer.encode(lines[0]).tolist()])
probe = observe(loaded.model, tokens)
Image(draw_attention(probe.attention, "attention by layer and head"))

# %%
back = [float(probe.attention[:, :, row, row - 15].max()) for row in range(20, 32)]
layer, head = divmod(int(probe.attention[:, :, range(20, 32), range(5, 17)].mean(-1).argmax()), 4)
print(f"layer {layer}, head {head} looks 15 places back with weight {sum(back) / len(back):.2f}")
names = ["^", *lines[0]]
Image(
    draw_heat_map(
        probe.attention[layer, head],
        title=f"layer {layer}, head {head}",
        x_label="seen",
        y_label="by",
        unit="",
        names=names,
    )
)
