"""The pages of the control plane."""
