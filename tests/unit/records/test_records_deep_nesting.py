"""Bytes that promise arrays in arrays are refused, and end no process. Source: specs/records.md §1."""

import subprocess
import sys

PROGRAM = """
import sys, threading
from creditledger.errors import MalformedRecordError
from creditledger.records.entry import Entry, Submission
from creditledger.records.receipt import Delivery, Receipt

ENTRY, RECEIPT = b"\\x95\\x01\\x01\\x05", b"\\xdc\\x00\\x12\\x02\\x01"

def read_all():
    for head in (b"", ENTRY, ENTRY + b"\\x94\\x14\\x01", RECEIPT):
        for deep in (b"\\x91" * 60_000, b"\\xdc\\xff\\xff" * 20_000, b"\\x81\\x01" * 30_000):
            for tail in (b"", b"\\xc4\\x40" + bytes(64)):
                for read in (Entry.decode, Submission.decode, Receipt.decode, Delivery.decode):
                    try:
                        read(head + deep + tail)
                    except MalformedRecordError:
                        refused.append(read)

refused = []
sys.setrecursionlimit(100_000)
threading.stack_size(256 * 1024)
thread = threading.Thread(target=read_all)
thread.start()
thread.join()
print(len(refused))
"""


def test_deep_arrays_are_refused_where_pythons_own_limit_is_lifted() -> None:
    """Libraries lift it for their own sake: py_ecc to 100,000, which is more than a thread's stack bears."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "96\n"), ended.stderr[-500:]
