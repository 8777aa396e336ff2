"""The output in parts: each is written whole or not at all, and not made again once it is there.

`plan` says which images belong to which part, `write` makes one, `merge` joins them.
"""
