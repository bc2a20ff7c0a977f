"""The embedded store and the searches over it: words, vectors, filters, fusion."""
