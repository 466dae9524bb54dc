"""Author: decorators that only record, the immutable `ServiceSpec`, and finding it in a module."""
