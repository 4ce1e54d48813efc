"""Keeps telephone numbers out of events: the shape of one, and the error that refuses it."""

import re

_PHONE = re.compile(r"[\s+().\-/]*(?:\d[\s().\-/]*){7,15}")


class PersonalDataRefused(ValueError):
    """A free-string field held a phone-shaped value. Names the field, never the value."""

    def __init__(self, event_type: str, field: str) -> None:
        super().__init__(
            f"{event_type}.{field} has the shape of a phone number; "
            "put it into the content topic, or name the lead by its pseudonym"
        )
        self.event_type = event_type
        self.field = field


def looks_like_phone(value: str) -> bool:
    """True when the *whole* value is 7 to 15 digits with the usual separators."""
    return _PHONE.fullmatch(value) is not None
