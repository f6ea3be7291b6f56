"""What happens around a step, one callback each.

``step_seed``   randomness as a function of the sample number, so that resuming changes nothing
``accumulation`` another number of micro-batches for every step, under a batch ramp
``ema``         means of the weights, validated and saved in their place: exponential, or the optimizer's own
``snapshot``    the state of some steps ago, for a rollback
``saving``      checkpoints at optimizer steps: periodic, best, last, and on a signal
``metrics_log`` the one clock of all curves: training and validation metrics to the loggers
``insight``     samples, pictures, histograms, update sizes: what TensorBoard shows beside curves
``traces``      the operations of chosen steps, for Perfetto
``status_line`` tells a view in the terminal where training stands
"""
