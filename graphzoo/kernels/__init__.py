"""Array code that knows no tensors."""
