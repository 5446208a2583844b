"""The demo table: 200 made-up support tickets in Chinese and English, and two AI fields."""

from chat.tables.demo.seeding import seed_tickets

__all__ = ["seed_tickets"]
