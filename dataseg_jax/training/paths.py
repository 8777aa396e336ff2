"""Names of parameters. Apart from the optimiser, whose library predicting does not need."""


def path_name(path) -> str:
    """A parameter's path in the tree, as the rules see it: "backbone/stage1_block1/conv1/kernel"."""
    return "/".join(str(getattr(key, "key", key)) for key in path)
