"""Taking over a database of Coalition 4.0: its rows are read, put right, and written as ours.

`file` and `tables` are the ways for SQLite and for MySQL: each reads the old tables as a Source,
has `rows` fill new ones beside them, and puts these in place in one step when all is counted.
"""
