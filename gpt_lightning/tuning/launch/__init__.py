"""How a sweep begins and who starts its workers: this machine, SLURM, Ray."""
