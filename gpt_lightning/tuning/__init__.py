"""Sweeps: many runs of one question.

``shape_key`` names the way that a learning rate has gone; ``pruning`` holds the rules that stop trials early, and
``early_termination`` what a sweep file says about them.
"""
