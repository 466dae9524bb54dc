"""The console: pages on the control plane, made on the server and kept live in the browser.

`mounting.mount_console` adds them to the control plane's application. Pages read through
`operations`, as the REST API does; what changes anything is sent by the page to the REST API
itself, so that there is one way to change and one place that checks.
"""
