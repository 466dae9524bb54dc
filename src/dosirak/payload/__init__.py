"""What travels: Python type hints become schemas and codecs, built once when a service is read."""
