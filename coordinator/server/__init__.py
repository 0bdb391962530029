"""Makes every room from the settings, starts and stops them in order. Imports console, config and below."""
