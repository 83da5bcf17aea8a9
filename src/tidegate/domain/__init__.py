"""The nouns: frozen dataclasses and enumerations of standard-library types.

Nothing here does I/O, reads a clock, draws a random number or logs. What a word means is in
`docs/vocabulary.md`.
"""
