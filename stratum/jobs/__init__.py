"""Turn templates into jobs and keep those that shares may still come for.

job.py builds one job: coinbase, notify line, compiled verifier. store.py holds the active, past and stale ones.

Pure. May import coins and native.
"""
