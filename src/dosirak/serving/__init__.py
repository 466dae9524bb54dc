"""Serve: a front that owns the listener, workers that own the models, one dataplane in each.

    client ─HTTP─▶ http ─WireRequest─▶ pool ─messages─▶ worker ─▶ dataplane ─▶ the author's code

`http` needs only something that answers calls (`calls.Calls`): a `pool.Pool` in a served process, a
`dataplane.Dataplane` in a test. Nothing is imported here, so that a worker does not pay for a web
server.
"""
