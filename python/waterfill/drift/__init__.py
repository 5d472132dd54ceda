"""Whether data have drifted away from a codec, and what that costs."""
