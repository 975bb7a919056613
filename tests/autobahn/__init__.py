"""The Autobahn test suite, and a small stand-in for its fuzzing server."""
