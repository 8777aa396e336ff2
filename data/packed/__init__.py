"""Datasets in few large record files: what `data.prepare` and TensorFlow Datasets wrote."""
