"""The general searches for a linearization: WGL, just-in-time, and both in turns."""
