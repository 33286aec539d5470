"""Decoding of CTC outputs: frames, greedy and beam search, forced alignment, n-grams."""
