"""From a store to windows: each is a pure function of its sample number, so a stream's state is one number."""
