"""The real engine, recovery and service in virtual time, with a store that crashes and branches that say anything."""
