"""The journal: intent before effect, outcome after, chained and verifiable. Not logging: that is `telemetry`."""
