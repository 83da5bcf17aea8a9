"""Who may do what: authenticate, authorize. No tool's content is read here."""
