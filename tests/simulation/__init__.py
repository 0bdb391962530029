"""The real engine, recovery and service in virtual time, with crashing stores and unruly branches."""
