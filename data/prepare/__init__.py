"""Writes a dataset of any layout as ArrayRecord, in the directory layout of TensorFlow Datasets.

The images' and masks' files are copied as they are; nothing is encoded again. TFDS' own writer has no restart, so
shards are written here with array_record, under the names that TFDS uses, and TFDS' DatasetInfo writes what describes
them: `tfds.builder_from_directory(DIR).as_data_source("train")` reads the result. Neither TensorFlow nor Apache Beam
is used.

Which record lies in which shard follows from the sizes of the files alone. A shard appears under its name when it is
complete and on the disk, and the description after the last of them. So a run that was killed is continued by the
same command and ends with the same bytes, whatever the number of processes.
"""
