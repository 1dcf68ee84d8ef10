"""What C{twistd -n eventsvc dev} shows beside its roles: a screen, faults, and an account at the end."""
