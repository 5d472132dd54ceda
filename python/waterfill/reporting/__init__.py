"""What was found, for people to look at: a page, figures, and tables in notebooks."""
