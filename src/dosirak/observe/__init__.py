"""What is said: metrics, the access log, request ids and the rules of health."""
