"""Objectives that predict tokens: a corruption of the batch, and one loss for all.

    batch, draws ──> corrupt ──> Corrupted(tokens, targets, weights, documents, opens) ──> model, head ──> LossOutput
                     restore <──

A corruption is a pure function on the device, so one prepared store serves them all, and what it does to a sample is
the same in every split of the global batch, on any number of processes and after any interruption. It loses nothing:
``restore`` gives the batch back. One adds a class here with ``corrupt`` and ``restore``, and its row in
``tests/contracts/test_objectives.py``.
"""
