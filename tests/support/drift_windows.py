"""What tests of the monitor share."""

REFERENCE, WINDOW = 1400, 400  # rows


def judged(monitor, x, **blocks):
    monitor.reset()
    monitor.update(x, **blocks)
    return monitor.report()
