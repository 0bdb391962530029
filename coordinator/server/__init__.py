"""Makes every room from the settings, starts and stops them in order. Imports api, config and below."""
