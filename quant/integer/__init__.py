"""A quantized network as integer arithmetic alone."""
