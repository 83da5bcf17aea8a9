"""The gateway in front of published servers, asked by the official clients of two languages and both eras."""
