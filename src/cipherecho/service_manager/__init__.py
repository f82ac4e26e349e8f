"""The service manager, such as systemd: inherited sockets, and notifications."""
