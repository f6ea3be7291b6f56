"""Who does the trials: claims under a lease, slots for devices, the supervisor of a trial."""
