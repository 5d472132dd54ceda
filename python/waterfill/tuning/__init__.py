"""From a sample to settings: what is tried, how it is measured, and what was found."""
