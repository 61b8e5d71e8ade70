"""What every Runcast process has: settings, logging, the server, the admin endpoint, problem+json."""
