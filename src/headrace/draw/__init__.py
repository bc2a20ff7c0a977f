"""Pictures: one function per picture, plain data in, SVG text out. Computes no statistics."""
