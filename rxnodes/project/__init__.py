"""A project: its connections, its scopes, and running a program that has one."""
