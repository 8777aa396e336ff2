"""Readers of weight files from strangers: numbers come out, and nothing that a file says is ever called.

`instructions` interprets a pickle into plain values, `values` has the closed table of what it may build, `arrays` and
`tensors` check sizes before they touch memory, `archives` opens zip files, `torch_files` and `npz` are the formats.
"""
