"""The `dataseg` command: what it runs, and what the entry points of `experiments` share with it.

`main` chooses among the commands. Of each, a module with `add_flags`, and `run`; importing it imports no JAX. Beside
`io` and `text`, this room may read and write files: it is what a user at a terminal calls, and no part of the core that
takes arrays calls it.
"""
