"""Tables of a miner for spreadsheets and programs: `/api/v1/miners/{address}/exports/{table}.{format}`.

Owns what the tables hold (`tables.py`: columns, and rows page by page from the services), how they are written
(`formats.py`, pure: CSV, JSON and XLSX, each as a stream of bytes) and how they are served (`serve.py`). Start with
`formats.py`. Nothing is ever held as a whole: a table of any length costs a page of memory.

May import what `gateway` may, and `gateway` itself; only `gateway/app.py` imports it.
"""
