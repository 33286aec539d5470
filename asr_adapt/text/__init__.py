"""Text: normalisation, alphabets, orthographies."""
