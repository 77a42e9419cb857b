"""Whole files of sentences -> files of vectors. One module per output format."""
