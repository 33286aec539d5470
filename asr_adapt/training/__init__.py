"""What the training loop stands on: data, feature cache, state, checkpoints, schedule, presets."""
