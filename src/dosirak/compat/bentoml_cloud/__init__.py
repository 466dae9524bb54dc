"""BentoCloud's way to deploy, over the platform of this machine.

    bentoml deploy │ bentoml deployment … │ bentoml.deployment.* ──▶ dosirak.deployment
    bentoml.SyncHTTPClient(url) ──▶ dosirak.SyncHTTPClient

`cli` holds the commands, `deployments` the functions, `clients` the clients with the names of
arguments that people of BentoML 1 know. How services are authored there is no part of it.
"""
