"""The sweep's memory: Optuna's study, the folder beside it, its best trial."""
