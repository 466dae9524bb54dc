"""The data plane of one machine: Envoy, driven by files that it watches.

    RoutingTable ─▶ clusters · routes · listeners (pure) ─▶ files ─▶ Envoy
                                                    admin ◀─────────┘

`envoy_router.EnvoyRouter` is the `Router` of `deployment.routing`. Envoy's process outlives the one
that started it, and serves on with the files that are there.
"""
