"""Formats of pages, over those of Django: times to the second, digits of one width."""

DATETIME_FORMAT = "Y-m-d H:i:s"
TIME_FORMAT = "H:i:s"
