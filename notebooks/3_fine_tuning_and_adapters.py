# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Fine-tuning and adapters
#
# A base model, then conversations that it learns to answer: with all of its weights, and with a low-rank adapter beside
# frozen ones (LoRA).

# %%
import importlib.util

if importlib.util.find_spec("gpt_lightning") is None:
    get_ipython().run_line_magic("pip", "install --quiet gpt-lightning")

import json

import gpt_lightning as gl

# %% [markdown]
# ## A base

# %%
settings = {"trainer.max_steps": 80, "run.sample_tokens": 0, "trainer.limit_val_batches": 10, "monitor.details": False}
base = gl.build("quickstart", {**settings, "run.name": "base"}).fit()
print(base.metrics["val/loss"])

# %% [markdown]
# ## Conversations
#
# As OpenAI's `messages`, one to a line. These are made up by a rule, so that it shows whether it was learned: the
# answer repeats the last word of the question.

# %%
words = "module class method value string number object function list file name type error text line".split()
with open("chats.jsonl", "w") as file:
    for first in words:
        for last in words:
            messages = [
                {"role": "user", "content": f"What is {first} of {last}?"},
                {"role": "assistant", "content": f"The answer is {last}."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")

# %% [markdown]
# ## All weights
#
# The same `fit`, begun from the base. `SFT` learns the answers alone, and the end of each.

# %%
chats = {
    **settings,
    "init_from": str(base.folder),
    "data.source": "chats.jsonl",
    "data.layout": "Conversation",
    "data.packing": "Document",
    "data.block_size": 64,
    "data.batch_size": 16,
    "model.objective": "SFT",
    "model.optimizer.lr": 0.001,
    "trainer.max_steps": 60,
    "trainer.accelerator": "cpu",
}
tuned = gl.build({**chats, "run.name": "chat"}).fit()

# %% language="bash"
# gpt-lightning generate runs/chat-1 --temperature 0 --max_tokens 8 --prompt "User: What is name of list?
# Assistant:"

# %% [markdown]
# ## An adapter
#
# `LoRA` trains two thin matrices beside each layer's and nothing else. It turns what a base can do towards a use. This
# base has seen 80 steps and can do little, so the adapter learns less here than all weights did: give the base more
# steps, and look again.

# %%
adapted = gl.build({**chats, "model.adaptation": "LoRA", "run.name": "adapter"}).fit()
print(f"answers: {tuned.metrics['val/loss']:.2f} with all weights, {adapted.metrics['val/loss']:.2f} with an adapter")

# %% [markdown]
# Its checkpoint holds the adapter alone, and names its base by hash:


# %%
def megabytes(run):
    newest = max((run.folder / "checkpoints").glob("step-*"))
    return sum(file.stat().st_size for file in newest.rglob("*") if file.is_file()) / 1e6


print(f"a checkpoint: {megabytes(tuned):.1f} MB, of the adapter {megabytes(adapted):.1f} MB")
