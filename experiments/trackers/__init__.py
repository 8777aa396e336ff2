"""Where scalars and images of a run go: TensorBoard, Weights & Biases, MLflow, by `config.log.trackers`."""
