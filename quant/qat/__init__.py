"""Quantization-aware training: weights and quantization steps, learned together."""
