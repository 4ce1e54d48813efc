"""What can go wrong with the log before a call starts. Nothing here is raised into one.

LogUnreachable   the operator's to fix: address, broker, credentials
SpoolUnusable    the operator's to fix: a folder, its rights, room on its disk
"""


class LogUnreachable(ConnectionError):
    """No broker answered, or none let us in. Names the address, why, and what to do."""


class SpoolUnusable(OSError):
    """Records would have no place to wait in. Names the folder, why, and what to do."""
