"""Phrases for datasets that have none, by templates or from a captioner's file (MQ-Former 3.4).

The command is `python -m data.phrases`.
"""
