"""Pack: keep trained models with their metadata and golden examples."""
