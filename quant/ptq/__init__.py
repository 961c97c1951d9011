"""Post-training quantization: grids, calibration, rounding, the quantized network and its evaluation."""
