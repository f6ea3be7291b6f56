"""Processes, sharding and checkpoint input and output: what is Lightning's or torch.distributed's own."""
