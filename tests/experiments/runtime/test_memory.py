"""Freed memory: given back to the system or kept, by what the kernel says is resident."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runtime import memory

PROGRAM = """
import os
import numpy as np
from experiments.runtime.memory import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

{setting}
before = resident()
array = np.ones({mebibytes} << 20, np.uint8)
assert resident() - before >= {mebibytes} - 1
del array
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("setting", "mebibytes", "kept"),
    [
        ("", 24, False),
        ("keep_freed_memory()", 24, True),
        ("keep_freed_memory()", 128, False),
        ("keep_freed_memory(everything=True)", 128, True),
    ],
)
def test_what_stays_resident(setting, mebibytes, kept):
    code = PROGRAM.format(setting=setting, mebibytes=mebibytes)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(done.stdout) >= mebibytes - 1) == kept


def test_kept_where_twice_the_peak_fits(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda everything: calls.append(everything))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    monkeypatch.setattr(memory, "available", lambda: peak)
    assert not memory.keep_freed_memory_if_it_fits() and calls == []
    monkeypatch.setattr(memory, "available", lambda: 4 * peak)
    assert memory.keep_freed_memory_if_it_fits() and calls == [True]


def test_available_is_at_most_the_machine():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < memory.available() <= total
