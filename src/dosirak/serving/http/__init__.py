"""HTTP: the ASGI application over anything that answers calls.

    guard (host, origin, token, request id, log) ─▶ routes ─▶ api | task | information

The guard sees every request and answer; routes are literal paths; bodies are read bounded and
passed on undecoded. `application.create_http_application` puts it together.
"""
