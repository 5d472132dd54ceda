"""The rows of docs/bad-input.md as calls, a module for each section of the page."""
