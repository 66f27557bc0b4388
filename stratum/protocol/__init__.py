"""Speak Stratum V1 without doing I/O: bytes in, events and bytes out.

Start at session.py, the state of one connection. framing.py cuts the stream into lines, messages.py decodes and
encodes them, user.py reads user names and passwords, vardiff.py chooses difficulties, difficulty.py prepares them for
use, extranonce.py hands out search space, proxy.py reads the PROXY protocol's header.

Pure: no clock, no sockets, no logging. May import coins and the standard library, msgspec for JSON, and stratum.errors.
"""
