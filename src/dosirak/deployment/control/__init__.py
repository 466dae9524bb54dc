"""The control plane: the loop that makes desired state true, and its process."""
