"""Runs inside a job's container: asks to be traced and takes a signal, which on careless engines makes it immortal."""

from __future__ import annotations

import ctypes
import os
import time

if os.fork() == 0:
    time.sleep(600)
    os._exit(0)
ctypes.CDLL(None).ptrace(0, 0, 0, 0)
if os.fork() == 0:
    os._exit(0)
print("haunting", flush=True)
time.sleep(600)
