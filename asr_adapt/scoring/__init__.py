"""Error rates and error analysis."""
