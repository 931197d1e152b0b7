"""The options of a producer, and KPL properties files."""
