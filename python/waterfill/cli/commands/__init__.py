"""The commands, in modules named after one of them."""
