"""Pages and model cards about an evaluation."""
