"""The console in a real browser, over a coordinator with everything in it that can be stuck."""
