"""Runs the model on the native CPU kernels, directly or through torch operators."""
