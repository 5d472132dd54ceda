"""Results for people: the HTML report, Matplotlib figures, tables in notebooks."""
