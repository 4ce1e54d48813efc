"""Keeps telephone numbers out of events: the shape of one, and the error that refuses it."""

import re

# Separators include the dashes and the invisible direction marks that come along when a number is copied.
_BETWEEN = r"\s().\-/\u2010-\u2015\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_PHONE = re.compile(rf"[+\uff0b{_BETWEEN}]*(?:\d[{_BETWEEN}]*){{7,15}}")
_DATE = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


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
    """True when the *whole* value is 7 to 15 digits with the usual separators, and no ISO date."""
    if not value or value[0].isalpha():  # as nearly all names are, and no number: spares half the cost of an event
        return False
    return _PHONE.fullmatch(value) is not None and _DATE.fullmatch(value) is None
