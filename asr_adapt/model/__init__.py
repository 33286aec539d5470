"""The model: base checkpoints, the CTC head, adapters, precision."""
