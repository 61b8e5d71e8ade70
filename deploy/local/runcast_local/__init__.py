"""Runcast on one machine, for trying and developing: a store, the services and one origin under one command."""
