"""From audio to transcripts: the transcriber and the engines that run a model."""
