"""From a configuration to a trained model: ``build`` puts the parts together, a ``Run`` trains them."""
