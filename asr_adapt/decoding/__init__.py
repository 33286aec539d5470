"""Decoding of CTC outputs: frames, greedy and beam search, forced alignment, n-grams. The loss is in `training`."""
