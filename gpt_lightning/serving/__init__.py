"""An OpenAI-compatible API whose answers can be reproduced, and a page to talk to it.

    command . replay                what is typed
    server                          a socket, signals, the end
    app                             the table of routes; gate: keys, rates and the log in front; page . page.html
    service                         one call from its body to its answer
      ├─ calls <── fields           OpenAI's parameters -> engine requests, each honoured or refused by name
      ├─ answers . delivery         completions -> OpenAI's objects, whole or as events
      ├─ worker                     the engine's thread: commands in, news out
      ├─ aliases ── versions        a name -> certain weights, followed while the server runs
      ├─ feedback                   what people say about answers, and the answers that it is about
      └─ request_log . metrics      what is written down, what is counted
    settings . api_errors           what the server is told; what is refused, as OpenAI's clients read it

The same request with a seed gets the same text, log-probabilities and counts: alone, in any batch, with a cold or a
warm prompt cache, after a restart, after other weights were served in between (on a CPU to the bit; the engine's
docstring says why). ``system_fingerprint`` names all that this depends on, so that a log of requests can be answered
again and compared (``gpt-lightning serve replay``).

>>> import torch
>>> from pathlib import Path
>>> from starlette.testclient import TestClient
>>> from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> from gpt_lightning.serving.app import build_app
>>> from gpt_lightning.serving.server import build_service
>>> from gpt_lightning.serving.settings import EngineSettings, Source
>>> from gpt_lightning.serving.versions import build_versions
>>> from gpt_lightning.weights.loading import LoadedModel
>>> model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=32, vocab_size=257))
>>> loaded = LoadedModel(model, ByteTokenizer(), {}, Path("tiny"))
>>> load = lambda base, adapters: build_versions(loaded, adapters, EngineSettings())
>>> service, metrics = build_service({"tiny": Source("tiny")}, load)
>>> asked = {"model": "tiny", "prompt": "Once", "max_tokens": 3, "seed": 1}
>>> with TestClient(build_app(service, metrics)) as client:
...     first, second = (client.post("/v1/completions", json=asked).json() for _ in range(2))
>>> first["choices"] == second["choices"], first["usage"]
(True, {'prompt_tokens': 5, 'completion_tokens': 3, 'total_tokens': 8})

A model with a head (``objectives.labels``) labels texts at ``/v1/classify``: {"model": ..., "input": [texts]} is
answered with what ``predict`` writes of each.

A new endpoint is a method of ``app.Endpoints`` and a row of its table; a new parameter a row of a table of ``calls``.
"""
