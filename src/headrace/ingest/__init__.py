"""Files → documents → chunks: encoding, readers, splitting, duplicates, walking folders.

Knows no embedder and no store: both come as arguments.
"""
