"""serve: models behind OpenAI's transcription API, a WebSocket for live audio, and a page."""
