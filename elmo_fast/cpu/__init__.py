"""The model on the native CPU kernels, and as torch operators made of them."""
