"""Sweeps over sizes: laws of loss and learning rate, and what settings of a small model cost a larger one."""
