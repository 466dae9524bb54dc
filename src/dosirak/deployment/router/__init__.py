"""The data plane: Envoy, driven through files that it watches."""
