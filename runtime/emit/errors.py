"""What can go wrong with the log before a call starts. Nothing here is raised into one.

LogUnreachable   the operator's to fix: address, broker, credentials
"""


class LogUnreachable(ConnectionError):
    """No broker answered, or none let us in. Names the address, why, and what to do."""
