"""The tests; a folder is named after what its tests need."""
