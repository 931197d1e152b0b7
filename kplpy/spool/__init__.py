"""The files of the spool, which keep records until they are answered.

rows.py encodes the records of one row, part.py keeps the rows of one producer, directory.py finds the parts of a
directory. Nothing here knows the producer's threads: runtime/spooling.py decides what is written and read.
"""
