"""The LightningModule, and what is done with its weights: averages, snapshots, non-finite steps."""
