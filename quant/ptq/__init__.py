"""Post-training quantization: grids, calibration, rounding, quantized networks, evaluation."""
